"""`capture` on the user's own transformers model: traces of every call of its `generate`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from threading import get_ident
from typing import TYPE_CHECKING, Any

from energy_guard.backends.attributes import replaced
from energy_guard.backends.locks import lock_of
from energy_guard.backends.recorder import Recorder
from energy_guard.backends.transformers.check import check_model
from energy_guard.backends.transformers.fast import read_given
from energy_guard.backends.transformers.follow import Following
from energy_guard.backends.transformers.read_along import Choice, Watch
from energy_guard.backends.transformers.vocabulary import Vocabulary
from energy_guard.errors import InputError
from energy_guard.request import Event, Finished
from energy_guard.trace import FinishReason, Step, StepHook, Trace

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_ONE_BY_ONE = ("greedy_search", "sample")
"""Ways of generating in which every token that is chosen stays."""


@contextmanager
def capture_transformers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    on_step: StepHook | None,
    last_row: bool,
    wait_s: float,
) -> Iterator[list[Trace]]:
    """See `energy_guard.capture`."""
    check_model(model)
    watch = _Captured(model, tokenizer, on_step, last_row)
    with (
        lock_of(model).hold(wait_s, shared=True),
        replaced(model, "generate", watch.standing_in()),
    ):
        try:
            yield watch.traces
        finally:
            watch.over = True


class _Captured:
    """Stands in for one model's `generate` while a capture lasts."""

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase | None,
        on_step: StepHook | None,
        last_row: bool,
    ) -> None:
        self.traces: list[Trace] = []
        self.over = False
        self._drafting: set[int] = set()  # threads; a model may be its own assistant
        self._model = model
        self._generate = model.generate
        self._piece = _no_text if tokenizer is None else Vocabulary(tokenizer).piece
        self._on_step = on_step
        self._last_row = last_row

    def standing_in(self) -> Callable[..., Any]:
        """The function in the place of `generate`; the one before is its `uncaptured`."""

        @wraps(self._generate)
        def generate(*args: Any, **kwargs: Any) -> Any:
            if self.over or get_ident() in self._drafting:
                return self._generate(*args, **kwargs)
            call = _Call(self._model, args, kwargs)
            if kwargs.get("cache_implementation") == "paged":
                raise InputError(
                    "capture cannot follow continuous batching (a paged cache)",
                    "Leave cache_implementation out, or capture calls without it.",
                )
            follow = self._follow if call.mode in _ONE_BY_ONE else self._evaluate
            return follow(call)

        generate.uncaptured = getattr(self._generate, "uncaptured", self._generate)  # type: ignore[attr-defined]
        return generate

    def _follow(self, call: _Call) -> Any:
        recording = _Recording(call, self._piece, self._on_step, self._last_row, len(self.traces))
        try:
            with recording.watch.installed():
                out = self._generate(*call.args, **call.kwargs)
            recording.take_last_row()
            return out
        finally:
            self.traces += recording.finish()

    def _evaluate(self, call: _Call) -> Any:
        """Beams are reordered and drafts rejected: the sequences that come out are replayed."""
        if self._on_step is not None:
            raise InputError(
                f"on_step cannot follow {call.mode}: tokens are chosen several at a time, or again",
                "Leave on_step out (the final sequences are traced), or generate greedily.",
            )
        prompts = call.prompts()
        self._drafting.add(get_ident())
        try:
            out = self._generate(*call.args, **call.kwargs)
        finally:
            self._drafting.remove(get_ident())
        sequences = getattr(out, "sequences", out)
        expand = len(sequences) // len(prompts)
        for i, ids in enumerate(sequences[:, call.width :].tolist()):
            answer, reason = call.cut(ids)
            if answer:
                self.traces.append(self._replayed(prompts[i // expand], answer, reason, call))
        return out

    def _replayed(
        self, prompt: list[int], answer: list[int], reason: FinishReason, call: _Call
    ) -> Trace:
        recorder = Recorder(len(self.traces), len(prompt), call.stop)
        done: list[Event] = []
        following = Following(
            [recorder], self._piece, frozenset(), done.extend, _goes_on, self._last_row
        )
        for t, (choice,) in enumerate(read_given(self._model, [prompt], [answer], [1.0]), 1):
            ending = Choice(choice.token, choice.token_logit, choice.row, reason)
            following.step([ending if t == len(answer) else choice])
        following.finish(None)
        return next(event.trace for event in done if isinstance(event, Finished))


class _Call:
    """What a call of `generate` was given, and what that means."""

    def __init__(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.model = model
        self.args = args
        self.kwargs = kwargs
        bound = inspect.signature(type(model).generate).bind(model, *args, **kwargs).arguments
        given = bound.pop("kwargs", {}) | bound
        settings = {k: v for k, v in given.items() if k not in _NO_SETTINGS}
        self.config, _ = model._prepare_generation_config(
            given.get("generation_config"), **settings
        )
        self.mode = self.config.get_generation_mode(given.get("assistant_model")).value
        if given.get("custom_generate") is not None:
            self.mode = "custom_generate"
        inputs = given.get("inputs")
        self.ids: Tensor | None = given.get("input_ids") if inputs is None else inputs
        self.mask: Tensor | None = given.get("attention_mask")
        prompt = given.get("inputs_embeds") if self.ids is None else self.ids
        if self.mask is None and prompt is not None:  # `generate` sees padding by itself, too
            model._prepare_special_tokens(self.config, True, device=prompt.device)
            self.mask = model._prepare_attention_mask_for_generation(prompt, self.config, {})
        self.keeps_cache = bool(
            self.config.return_dict_in_generate or given.get("past_key_values") is not None
        )

    @property
    def stop(self) -> tuple[str, ...]:
        """The stop strings."""
        stop = self.config.stop_strings or ()
        return (stop,) if isinstance(stop, str) else tuple(stop)

    @property
    def ends(self) -> frozenset[int]:
        """The end tokens."""
        ends = self.config.eos_token_id
        return frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])

    def prompt_tokens(self, sequences: int, width: int) -> list[int]:
        """The lengths of the prompts without their padding, one a sequence."""
        if self.mask is None:
            return [width] * sequences
        lengths = self.mask.sum(-1).tolist()
        return [int(n) for n in lengths for _ in range(sequences // len(lengths))]

    def prompts(self) -> list[list[int]]:
        """The prompts as ids, without their padding."""
        if self.ids is None or self.mask is None:
            raise InputError(
                f"capture cannot follow {self.mode} without input_ids: prompts are replayed there",
                "Give input_ids, or generate greedily.",
            )
        if self.mask.shape != self.ids.shape:
            raise InputError(
                f"capture cannot follow {self.mode} from a cache: prompts are replayed there",
                "Give input_ids with the whole prompt, or generate greedily.",
            )
        pairs = zip(self.ids, self.mask, strict=True)
        return [ids[kept.bool().to(ids.device)].tolist() for ids, kept in pairs]

    @property
    def width(self) -> int:
        """The length of the prompts, with their padding."""
        return 0 if self.ids is None else int(self.ids.shape[1])

    def cut(self, ids: list[int]) -> tuple[list[int], FinishReason]:
        """An answer without the filling that follows it, and why it ended there."""
        ends = self.ends
        end = next((t for t, token in enumerate(ids) if token in ends), None)
        if end is not None:
            return ids[: end + 1], "eos"
        # Beams that a criterion ended are filled up to the length of the others.
        filling = (-1, self.config.pad_token_id) if (self.config.num_beams or 1) > 1 else ()
        length = max((t for t, token in enumerate(ids, 1) if token not in filling), default=0)
        limit = self.config.max_new_tokens
        return ids[:length], "stop" if length < (limit or length) else "length"


_NO_SETTINGS = frozenset(
    {
        *("self", "inputs", "input_ids", "attention_mask", "generation_config", "logits_processor"),
        *("stopping_criteria", "prefix_allowed_tokens_fn", "synced_gpus", "assistant_model"),
        *("streamer", "negative_prompt_ids", "negative_prompt_attention_mask", "custom_generate"),
        *(
            "tokenizer",
            "assistant_tokenizer",
            "past_key_values",
            "inputs_embeds",
            "trust_remote_code",
        ),
    }
)
"""Arguments of `generate` that are no generation settings."""


class _Recording:
    """One call that is followed step by step."""

    def __init__(
        self,
        call: _Call,
        piece: Callable[[int], bytes],
        on_step: StepHook | None,
        last_row: bool,
        number: int,
    ) -> None:
        self.watch = Watch(call.model, self._step)
        self._call = call
        self._piece = piece
        self._on_step = on_step
        self._last_row = last_row
        self._number = number
        self._following: Following | None = None
        self._stopped: set[int] = set()
        self._events: list[Event] = []

    def take_last_row(self) -> None:
        """Evaluate the rows after the last tokens, where the call did not."""
        following = self._following
        if following is not None and following.waiting:
            last = [recorder.last.id for recorder in following.recorders]
            following.finish(self.watch.row_after(last, leave_cache=self._call.keeps_cache))

    def finish(self) -> list[Trace]:
        """The traces, one a sequence in order; those of a call that failed end as `closed`."""
        following = self._following
        if following is None:
            return []
        for recorder in following.recorders:
            recorder.reason = recorder.reason or "closed"
        following.finish(None)
        ended = {e.sequence: e.trace for e in self._events if isinstance(e, Finished)}
        return [trace for _, trace in sorted(ended.items())]

    def _step(self, choices: list[Choice], length: int) -> Sequence[bool]:
        if self._following is None:
            tokens = self._call.prompt_tokens(len(choices), length)
            self._following = Following(
                [Recorder(self._number + i, n, self._call.stop) for i, n in enumerate(tokens)],
                self._piece,
                frozenset(),
                self._keep,
                self._stop,
                self._last_row,
            )
        self._following.step(choices)
        return [i in self._stopped for i in range(len(choices))]

    def _keep(self, events: list[Event]) -> None:
        self._events += [event for event in events if isinstance(event, Finished)]

    def _stop(self, i: int, step: Step) -> FinishReason | None:
        if self._on_step is not None and self._on_step(step):
            self._stopped.add(i)
            return "cancelled"
        return None


def _goes_on(_sequence: int, _step: Step) -> None:
    return None


def _no_text(_token: int) -> bytes:
    return b""
