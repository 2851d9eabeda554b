"""Hugging Face transformers in process, around the user's own model and tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from energy_guard.backends.base import (
    Backend,
    HiddenStates,
    ModelInfo,
    Pair,
    PromptSize,
    Session,
)
from energy_guard.backends.locks import DEFAULT_WAIT_S, lock_of
from energy_guard.backends.prompt import PromptEncoder
from energy_guard.backends.recorder import Recorder
from energy_guard.backends.transformers.check import check_generation, check_model, check_tokenizer
from energy_guard.backends.transformers.choose import check_request
from energy_guard.backends.transformers.codec import TokenizerCodec
from energy_guard.backends.transformers.constrain import Constraints
from energy_guard.backends.transformers.fingerprint import fingerprint
from energy_guard.backends.transformers.job import Job, batches
from energy_guard.backends.transformers.options import engine_options
from energy_guard.backends.transformers.run import Prefix, Run
from energy_guard.backends.transformers.states import read_states
from energy_guard.backends.transformers.vocabulary import Vocabulary
from energy_guard.backends.worker import Emit, Kept, stepwise
from energy_guard.errors import ConfigError, InputError
from energy_guard.request import Event, Finished, Request
from energy_guard.trace import SIGNALS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Transformers(Backend):
    """A backend over one model and its tokenizer, which stay the user's and are left as found.

    chat_template: Jinja text instead of the tokenizer's own. n_ctx: fewer tokens of context than
    the model has positions. batch_size: requests that are answered at once. generation: further
    options of the model's `generate` (min_new_tokens, logits_processor, cache_implementation,
    …). last_row: evaluate the row after the last token where the generation did not. wait_s: how
    long to wait for an engine in use.

    Raises InputError for a model or tokenizer that cannot be used, ConfigError for options.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        chat_template: str | None = None,
        n_ctx: int | None = None,
        batch_size: int = 8,
        generation: Mapping[str, Any] = MappingProxyType({}),
        last_row: bool = True,
        wait_s: float = DEFAULT_WAIT_S,
    ) -> None:
        check_model(model)
        check_tokenizer(model, tokenizer)
        check_generation(model, generation)
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}", "Give at least 1.")
        self.engine = model
        self.tokenizer = tokenizer
        self.vocabulary = Vocabulary(tokenizer)
        self.generation = generation
        self.last_row = last_row
        self._batch_size = batch_size
        self._template = chat_template
        self._codec = TokenizerCodec(model, tokenizer, chat_template, n_ctx)
        self._prompts = PromptEncoder(self._codec)
        self._wait_s = wait_s
        self._lock = lock_of(model)

    @property
    def info(self) -> ModelInfo:
        """Name of the model, the fingerprint of its weights and chat template, how it computes."""
        name = Path(self.engine.name_or_path or "").name or type(self.engine).__name__
        return ModelInfo(name, self._fingerprint, "transformers", engine_options(self.engine))

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.engine, self.tokenizer, self._template)

    @property
    def exact_signals(self) -> frozenset[str]:
        """All of them."""
        return frozenset(SIGNALS)

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tokens that end an answer: those of the model's generation settings, the tokenizer's."""
        stated = getattr(self.engine.generation_config, "eos_token_id", None)
        listed = stated if isinstance(stated, list) else [stated]
        return frozenset(t for t in (*listed, self.tokenizer.eos_token_id) if t is not None)

    @cached_property
    def _constraints(self) -> Constraints:
        return Constraints(self.tokenizer, self.ends, self._codec.vocabulary_size)

    @property
    def takes_tools(self) -> bool:
        """Whether the chat template speaks of tools."""
        return self._prompts.takes_tools

    def measure(self, request: Request) -> PromptSize:
        """Tokenise the prompt and count; see `Backend.measure`."""
        return self._prompts.measure(request)

    @contextmanager
    def session(self, request: Request | None = None) -> Iterator[Session]:
        """Hold the model; see `Backend.session`."""
        with self._lock.hold(self._wait_s, give_up=lambda: bool(request and request.interrupted)):
            yield _Session(self)

    def states(self, request: Request, answer: Sequence[int], token: int) -> HiddenStates:
        """Read hidden states of a token of an answer; see `ShowsStates.states`."""
        if not 0 <= token < len(answer):
            raise InputError(f"the answer has {len(answer)} tokens, and none at {token}")
        prompt = self._prompts.encode(request)
        ids = self._prompts.encode_answer(answer[: token + 1], self._codec.context - len(prompt))
        with self._lock.hold(self._wait_s):
            return read_states(self.engine, prompt, ids)

    def _job(self, number: int, request: Request, answer: str | Sequence[int] | None) -> Job:
        check_request(request)
        prompt = self._prompts.encode(request)
        room = self._codec.context - len(prompt)
        ids = None if answer is None else self._prompts.encode_answer(answer, room)
        limit = min(request.max_tokens, room) if ids is None else len(ids)
        recorder = Recorder(
            number,
            len(prompt),
            request.stop if ids is None else (),
            limit,
            request.inverse_temperature,
            self._prompts.opens_reasoning(prompt),
        )
        matcher = None
        if request.constraint is not None and ids is None:
            matcher = self._constraints.matcher(request.constraint)
        return Job(request, prompt, limit, ids, recorder, matcher)

    def _batches(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        return batches(jobs, self._batch_size, self._codec.context)


@dataclass(slots=True)
class _Session:
    """prefix: what the last answer left in the cache, for a prompt that begins the same."""

    backend: Transformers
    prefix: Prefix | None = None

    def generate(
        self, requests: Sequence[Request], private: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        jobs = [self.backend._job(i, request, None) for i, request in enumerate(requests)]
        for batch in self.backend._batches(jobs):
            run = Run(self.backend, batch, private, self.prefix)
            self.prefix = None  # it is used up, also where the run fails
            yield from _events(run.live, steps)
            self.prefix = run.prefix

    def replay(
        self, pairs: Sequence[Pair], fast: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        jobs = [self.backend._job(i, *pair) for i, pair in enumerate(pairs)]
        for batch in self.backend._batches(jobs):
            run = Run(self.backend, batch, private=True)
            yield from _events(run.fast if fast else run.live, steps)

    def beginning(self, requests: Sequence[Request]) -> list[int]:
        return self.backend._prompts.beginning(requests)

    def rewind(self, beginning: Sequence[int]) -> None:
        held = self.prefix
        self.prefix = held and held.cut_to(beginning)
        if self.prefix is None and beginning:
            self.prefix = Prefix.read(self.backend.engine, beginning)


def _events(work: Callable[[Emit[list[Event]]], None], steps: bool) -> Generator[Event, None, None]:
    """The events that the work emits, one by one.

    Handing them over between two threads disturbs those that multiply matrices: up to a third
    of a batch's time on a machine of two cores. So nothing is handed over for nothing.
    """
    if not steps:
        ended = Kept[Event](lambda event: isinstance(event, Finished))
        work(ended)
        yield from ended.items
        return
    handed = stepwise(work)
    try:
        for events in handed:
            yield from events
    finally:
        handed.close()
