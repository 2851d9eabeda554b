"""Reading along while a model's own `generate` runs: the raw rows, the choices, and the last row.

Three methods of the one model object are stood in for while a call lasts, in its thread: others may
use the model meanwhile, and are not read. The first processor of the chain sees the very row that
`output_logits` would keep, before penalties, bias and filters, on eager and compiled forward passes
and with any cache. The stopping criteria see the token that was chosen, and may end a sequence.
What the forward pass was given is what the row after the last token needs. No row is kept longer
than one step, and all are waited for: a second thread beside a loop of Python gains nothing
(docs/results.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.attributes import own_method, standing_in
from energy_guard.backends.transformers.reduce import RowsReducer, scaled_rows_of
from energy_guard.energy import Row
from energy_guard.errors import EngineError
from energy_guard.likeliest import Likeliest, likeliest
from energy_guard.trace import FinishReason

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Choice:
    """A token that was chosen for one sequence, with the numbers of its row.

    likeliest: of that row, if they are wanted. done: why `generate` itself ends the sequence here,
    None if it goes on.
    """

    token: int
    token_logit: float
    row: Row
    done: FinishReason | None
    likeliest: Likeliest = ()


_PREPARE: Final = "prepare_inputs_for_generation"

Follow = Callable[[list[Choice], int], Sequence[bool]]
"""Takes the choices of one step, one a sequence, and the number of tokens before them (padding
included); says which sequences are to end."""


class Watch:
    """Follows one call of `generate`.

    inverse_temperatures: one a sequence, to multiply rows. alternatives: one a sequence, how many
    of the likeliest tokens are wanted.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        follow: Follow,
        inverse_temperatures: Sequence[float] = (),
        *,
        alternatives: Sequence[int] = (),
    ) -> None:
        self._alternatives = alternatives
        self._model: Any = model  # modules say of every attribute that it may be a tensor
        self._follow = follow
        self._betas = inverse_temperatures
        self._rows: Tensor | None = None
        self._alone = False
        self._last: _Pass | None = None
        self._prepare: Any = None
        self._reducer = RowsReducer()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Read along with the calls of `generate` inside; not with those of other threads."""
        model = self._model
        self._prepare = own_method(model, _PREPARE)

        def processors(before: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            chain = before(*args, **kwargs)
            self._alone = not chain
            chain.insert(0, _Processor(self._see))
            return chain

        def criteria(before: Callable[..., Any], *args: Any, **kwargs: Any) -> _Criteria:
            return _Criteria(before(*args, **kwargs), self._step)

        def inputs(before: Callable[..., Any], input_ids: Tensor, **kwargs: Any) -> Any:
            prepared = before(input_ids, **kwargs)
            self._last = _Pass.of(input_ids, kwargs, prepared)
            return prepared

        with (
            standing_in(model, "_get_logits_processor", processors),
            standing_in(model, "_get_stopping_criteria", criteria),
            standing_in(model, _PREPARE, inputs),
        ):
            yield

    @property
    def cache(self) -> Any:
        """The key-value cache of the call that was followed; None if there is none."""
        return None if self._last is None else self._last.cache

    def row_after(self, tokens: Sequence[int], leave_cache: bool) -> list[Row] | None:
        """Evaluate the last tokens, one a sequence, and reduce their rows: one more pass.

        None if the cache cannot take them: it is full, or somebody else has used it since, or
        it is to be left as it is (`leave_cache`) and could not be put back.
        """
        import torch

        if self._last is None or not self._last.can_go_on(leave_cache):
            return None
        inputs = self._prepare(**self._last.next(self._model, tokens))
        with torch.no_grad(), _undone(self.cache):
            logits = self._model(**inputs, return_dict=True).logits
        after = logits[:, -1].to(torch.float32)
        rows, _ = scaled_rows_of(self._reducer, after, self._betas)
        return rows

    def _see(self, _ids: Tensor, scores: Tensor) -> Tensor:
        self._rows = scores if self._alone else scores.clone()  # others may write into theirs
        return scores

    def _step(self, ids: Tensor, done: Tensor, why: Callable[[int, int], FinishReason]) -> Tensor:
        if self._rows is None:
            raise EngineError(
                "tokens were chosen without a row that could be seen",
                "Please report this with the version of transformers.",
            )
        tokens, seen = ids[:, -1], self._rows
        chosen, ended = tokens.tolist(), done.tolist()
        rows, logits = scaled_rows_of(self._reducer, seen, self._betas, tokens.to(seen.device))
        likely = self._likeliest(seen, len(chosen))
        self._rows = None
        choices = [
            Choice(token, logit, row, why(token, ids.shape[1]) if over else None, best)
            for token, logit, row, over, best in zip(
                chosen, logits, rows, ended, likely, strict=True
            )
        ]
        ending = self._follow(choices, ids.shape[1] - 1)
        return done.new_tensor(ending) | done if any(ending) else done

    def _likeliest(self, rows: Tensor, number: int) -> list[Likeliest]:
        if not any(self._alternatives):
            return [()] * number
        return [
            likeliest(row.cpu().numpy(), count, beta)
            for row, count, beta in zip(rows, self._alternatives, self._betas, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Pass:
    """What a forward pass was prepared from. end: the length of its cache afterwards."""

    ids: Tensor
    options: dict[str, Any]
    end: int | None

    @classmethod
    def of(cls, ids: Tensor, options: dict[str, Any], prepared: dict[str, Any]) -> _Pass:
        begin = _length(options.get("past_key_values"))
        read = prepared.get("inputs_embeds")
        read = prepared["input_ids"] if read is None else read
        return cls(ids, options, None if begin is None else begin + read.shape[1])

    @property
    def cache(self) -> Any:
        return self.options.get("past_key_values")

    def can_go_on(self, leave_cache: bool) -> bool:
        """Whether the cache is as the pass left it, and takes one token more."""
        if self.cache is None:  # none at all, or a state of another kind, which only goes forward
            return not self.options.get("use_cache")
        as_left = self.end is not None and _length(self.cache) == self.end
        return as_left and _has_room(self.cache) and (self.cache.is_croppable or not leave_cache)

    def next(self, model: Any, tokens: Sequence[int]) -> dict[str, Any]:
        """The same for the next pass, prolonged by one token a sequence as `generate` does it."""
        import torch

        options = {k: v for k, v in self.options.items() if k not in _OF_THIS_PASS}
        options = dict(model._update_model_kwargs_for_generation({}, options))
        last = self.ids.new_tensor(tokens)[:, None]
        one = {"next_sequence_length": 1} if self.cache is not None else {}
        return options | one | {"input_ids": torch.cat((self.ids, last), dim=1)}


@dataclass(frozen=True, slots=True)
class _Processor:
    """Stands in a chain of processors, which reads the signature of each one's call at every token.

    That of a class is read in a sixth of the time that the call of a bound method takes.
    """

    see: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        return self.see(ids, scores)


_OF_THIS_PASS: Final = frozenset({"is_first_iteration", "next_sequence_length"})


class _Criteria:
    """Stands for a list of stopping criteria, and tells what they decided."""

    def __init__(self, criteria: Any, step: Callable[..., Tensor]) -> None:
        self._criteria = criteria
        self._step = step
        self.max_length = criteria.max_length

    def __iter__(self) -> Iterator[Any]:
        return iter(self._criteria)

    def __call__(self, ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return self._step(ids, self._criteria(ids, scores, **kwargs), self._why)

    def _why(self, token: int, length: int) -> FinishReason:
        """Which of the criteria it was; they only say yes or no."""
        from transformers import EosTokenCriteria, MaxTimeCriteria

        ends = [c.eos_token_id for c in self._criteria if isinstance(c, EosTokenCriteria)]
        if any((end == token).any() for end in ends):
            return "eos"
        if self.max_length is not None and length >= self.max_length:
            return "length"
        timed = [c for c in self._criteria if isinstance(c, MaxTimeCriteria)]
        late = any(time.time() - c.initial_timestamp > c.max_time for c in timed)
        return "deadline" if late else "stop"


def _length(cache: Any) -> int | None:
    """How many tokens a cache holds; None for none, and where it does not know."""
    try:
        return None if cache is None else int(cache.get_seq_length())
    except ValueError:  # linear attention keeps a state without a length
        return None


def _has_room(cache: Any) -> bool:
    sizes = [layer.max_cache_len for layer in cache.layers if hasattr(layer, "max_cache_len")]
    return not sizes or bool(cache.get_seq_length() < max(sizes))


@contextmanager
def _undone(cache: Any) -> Iterator[None]:
    """Take the one token that is added inside out of the cache again, where that can be done."""
    if cache is None or not cache.is_croppable:
        yield
        return
    recording = [layer for layer in cache.layers if getattr(layer, "record_past", True) is False]
    cache.activate_past_recording()
    yield
    cache.crop(-1)
    for layer in recording:
        layer.record_past = False
