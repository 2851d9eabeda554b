"""What every backend is: the protocol, and what identifies an engine."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from energy_guard.request import Event, Finished, Request
from energy_guard.trace import Trace

EngineValue = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model answers: profiles and policies belong to one fingerprint.

    fingerprint: hexadecimal digest of weights, quantisation and adapters. engine: the options of
    the engine that move its numbers; profiles record them, and results note where they differ.

    >>> ModelInfo("tiny", "00ff", backend="scripted").backend
    'scripted'
    """

    name: str
    fingerprint: str
    _: KW_ONLY
    backend: str
    engine: Mapping[str, EngineValue] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class PromptSize:
    """How much of the context a prompt takes.

    tokens: of the prompt, as the engine reads it. context: all that the engine holds.
    opens_reasoning: the prompt ends inside <think>, so the answer begins as reasoning.

    >>> PromptSize(tokens=100, context=512).room
    412
    """

    tokens: int
    context: int
    _: KW_ONLY
    opens_reasoning: bool = False

    @property
    def room(self) -> int:
        """Tokens left for the answer; below 1 where the prompt does not fit."""
        return self.context - self.tokens


Pair = tuple[Request, str | Sequence[int]]
"""A request with an answer that exists already, as text or token ids."""


class Session(Protocol):
    """An engine that is held: several calls in a row, with nobody in between.

    Who derives from it keeps nothing of a prompt for the next one, unless it says otherwise.

    >>> from energy_guard.backends import Scripted
    >>> backend = Scripted.saying([("Yes", 0.9)], [("No", 0.9)])
    >>> with backend.session() as session:
    ...     answers = [list(session.generate([Request.chat("?")]))[-1].trace.text for _ in "12"]
    >>> answers
    ['Yes', 'No']
    """

    def generate(
        self, requests: Sequence[Request], *, private: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        """Answer the requests; events carry the index of their request as `sequence`.

        private: captures around this call do not see it. steps: without, only `Finished` is
        yielded, and an engine that needs a thread to yield in between needs none.

        Raises InputError before any work if a request cannot be served, EngineError if the
        engine fails.
        """
        ...

    def replay(
        self, pairs: Sequence[Pair], *, fast: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        """Yield the same events for answers that exist already.

        Token by token, as when they were written, so that the numbers are those of live
        decoding; `fast` evaluates many tokens at once, with numbers of its own. steps: as in
        `generate`.
        """
        ...

    def beginning(self, requests: Sequence[Request]) -> list[int]:
        """Return the tokens that all these prompts begin with, for `rewind`."""
        return []

    def rewind(self, beginning: Sequence[int]) -> None:
        """Keep just these tokens in the cache, read first where they are not there.

        What the next prompt shares with them is not read again, and its numbers do not depend on
        what was asked before.
        """
        return

    def as_found(self) -> AbstractContextManager[None]:
        """Leave what is kept of the last prompt as it was when this is entered.

        Whatever else is read inside, the next prompt is read no further than it would have been.
        """
        return nullcontext()

    def next_row(self, request: Request) -> npt.NDArray[np.float32]:
        """Return the raw row after a prompt: what the model would write next, before sampling.

        One pass over what of the prompt is not in the cache yet; nothing is written, and captures
        do not see it. The request's limits, sampling and inverse temperature play no part; its
        deadline and its cancelling end the pass, if the engine can be interrupted.

        Returns:
            A row of its own, shape (vocabulary,), unnormalised logits.

        Raises:
            PromptError: The prompt cannot be encoded or does not fit.
            EngineError: The engine fails.

        """
        ...

    def tokens_of(self, text: str) -> list[int]:
        """Return the token ids of a text as an answer has it: none of them is a control token."""
        ...

    def piece_of(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for a control token."""
        ...


class Observer(Protocol):
    """Looks into a model while it writes or reads answers; a session is given one."""

    def watching(self, sequences: Sequence[int], begin: int) -> AbstractContextManager[None]:
        """Look on until the block ends, which is in the thread that runs the model.

        Args:
            sequences: Numbers of the answers that are written or read together, in order.
            begin: How many tokens stand before the first one of each, padding included.

        """
        ...

    def told(self, sequence: int, trace: Trace) -> Trace:
        """Return the trace of an answer with what was seen of it."""
        ...


def watching(
    observer: Observer | None, sequences: Sequence[int], begin: int
) -> AbstractContextManager[None]:
    """Let somebody look on, if there is one; see `Observer.watching`."""
    return nullcontext() if observer is None else observer.watching(sequences, begin)


def told(events: Iterable[Event], observer: Observer | None) -> Iterator[Event]:
    """Put what was seen into the traces; without an observer they stay as they are."""
    for event in events:
        if isinstance(event, Finished) and observer is not None:
            event = replace(event, trace=observer.told(event.sequence, event.trace))
        yield event


def heard(events: Iterable[Event], steps: bool) -> Iterator[Event]:
    """Leave out, where `steps` are not wanted, all but the ends."""
    return (event for event in events if steps or isinstance(event, Finished))


@runtime_checkable
class Backend(Protocol):
    """An engine that writes text and shows the raw row of every step.

    Who derives from it gets `generate` and `replay` from its `session`.

    >>> from energy_guard.backends import Scripted
    >>> isinstance(Scripted.saying(), Backend)
    True
    """

    @property
    def info(self) -> ModelInfo:
        """Name, fingerprint and kind of the engine."""
        ...

    @property
    def exact_signals(self) -> frozenset[str]:
        """Signals that this backend gives exactly; the others it does not give."""
        ...

    @property
    def takes_tools(self) -> bool:
        """Whether the model's chat template shows it the tools of a request."""
        return False

    @property
    def replays(self) -> bool:
        """Whether it can read an answer that exists already."""
        return True

    @property
    def at_once(self) -> int:
        """How many requests it answers as one batch, faster than one after the other."""
        return 1

    def notes(self, request: Request) -> tuple[str, ...]:
        """Say, a sentence each, in what the prompt is not as it was asked for."""
        return ()

    def __deepcopy__(self, _memo: dict[int, object]) -> Self:
        """Return this very backend: copies of a guard or a chat model share the engine."""
        return self

    def measure(self, request: Request) -> PromptSize:
        """Count the prompt's tokens, also where they do not fit; nothing is evaluated for it.

        Raises PromptError if it cannot be encoded at all.
        """
        ...

    def session(self, request: Request | None = None) -> AbstractContextManager[Session]:
        """Hold the engine; EngineBusyError if it stays in use for too long.

        Waiting ends when `request` is cancelled or out of time, too.
        """
        ...

    def generate(self, requests: Sequence[Request]) -> Generator[Event, None, None]:
        """Answer the requests in a session of their own; see `Session.generate`.

        The engine is held until the generator is exhausted or closed.
        """
        with self.session() as session:
            yield from session.generate(requests)

    def replay(
        self, request: Request, answer: str | Sequence[int], *, fast: bool = False
    ) -> Generator[Event, None, None]:
        """Evaluate one answer in a session of its own; see `Session.replay`."""
        with self.session() as session:
            yield from session.replay([(request, answer)], fast=fast)


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no one truth value
class HiddenStates:
    """What some layers of a model make of one token of an answer and the text before it.

    token: its index in the answer. layers: as transformers counts them, 0 is the embedding and
    the last one is behind the final norm. values: shape (layers, width).
    """

    token: int
    layers: tuple[int, ...]
    values: npt.NDArray[np.float32]


@runtime_checkable
class ShowsStates(Backend, Protocol):
    """A backend that shows hidden states, too."""

    def states(self, request: Request, answer: Sequence[int], *, token: int) -> HiddenStates:
        """Return the states of one token of an answer, its place given by its index there.

        Those of two layers, whatever the model: the middle one, around which probes tell most
        (Orgad et al. 2024), and the last one, which the logits are made of. answer: the token
        ids, which are read as they are, all of them up to that token at once.
        """
        ...
