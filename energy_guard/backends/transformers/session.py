"""A model held for several answers, and how their events reach who asked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from energy_guard.backends.base import Observer, Pair, told, watching
from energy_guard.backends.transformers.engine import Engine
from energy_guard.backends.transformers.prefix import Prefix, row_after
from energy_guard.backends.transformers.run import BatchRun
from energy_guard.backends.worker import Emit, Kept, stepwise
from energy_guard.errors import EngineError
from energy_guard.request import Event, Finished, Request


@dataclass(slots=True)
class TransformersSession:
    """The model, held: what `Backend.session` gives.

    prefix: what the last answer left in the cache, for a prompt that begins the same. observer:
    looks on while answers are written or read.
    """

    engine: Engine
    prefix: Prefix | None = None
    observer: Observer | None = None

    def generate(
        self, requests: Sequence[Request], *, private: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        """Write answers; see `Session.generate`."""
        jobs = [self.engine.job(i, request, None) for i, request in enumerate(requests)]
        for batch in self.engine.batches(jobs):
            run = BatchRun(self.engine, batch, private, self.prefix)
            self.prefix = None  # it is used up, also where the run fails
            observer = None if private else self.observer
            work = _watched(run, run.live, observer)
            yield from told(_events(work, steps), observer)
            self.prefix = run.prefix

    def replay(
        self, pairs: Sequence[Pair], *, fast: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        """Evaluate answers that exist; see `Session.replay`."""
        jobs = [self.engine.job(i, *pair) for i, pair in enumerate(pairs)]
        for batch in self.engine.batches(jobs):
            run = BatchRun(self.engine, batch, private=True)
            read = run.fast if fast else run.live
            work = _watched(run, read, self.observer)
            yield from told(_events(work, steps), self.observer)

    def beginning(self, requests: Sequence[Request]) -> list[int]:
        """Return the tokens that all begin with; see `Session.beginning`."""
        return self.engine.prompts.beginning(requests)

    def rewind(self, beginning: Sequence[int]) -> None:
        """Keep just these tokens in the cache; see `Session.rewind`."""
        held = self.prefix
        self.prefix = held and held.cut_to(beginning)
        if self.prefix is None and beginning:
            self.prefix = Prefix.read(self.engine.model, beginning)

    @contextmanager
    def as_found(self) -> Iterator[None]:
        """Leave the prefix as it is; see `Session.as_found`.

        Reading a prompt goes on in the tensors of the one before, so inside there is a copy.
        """
        held, self.prefix = self.prefix, deepcopy(self.prefix)
        try:
            yield
        finally:
            self.prefix = held

    def next_row(self, request: Request) -> npt.NDArray[np.float32]:
        """Return the raw row after a prompt; see `Session.next_row`."""
        prompt = self.engine.prompts.encode(request)
        held, self.prefix = self.prefix, None  # it is used up, also if the model fails
        row, self.prefix = row_after(self.engine.model, prompt, held)
        return row

    def tokens_of(self, text: str) -> list[int]:
        """Return the token ids of a text; see `Session.tokens_of`."""
        return self.engine.prompts.encode_answer(text, self.engine.codec.context)

    def piece_of(self, token: int) -> bytes:
        """Return the bytes of a token; see `Session.piece_of`."""
        return self.engine.vocabulary.piece(token)


Work = Callable[[Emit[list[Event]]], None]


def _watched(run: BatchRun, work: Work, observer: Observer | None) -> Work:
    """The work of a run with somebody looking on, in the thread that does it."""

    def watched(emit: Emit[list[Event]]) -> None:
        with watching(observer, run.sequences, run.width):
            work(emit)

    return watched


def _events(work: Work, steps: bool) -> Generator[Event, None, None]:
    """The events that the work emits, one by one.

    Handing them over between two threads disturbs those that multiply matrices: up to a third
    of a batch's time on a machine of two cores. So nothing is handed over for nothing.
    """
    if not steps:
        ended = Kept[Event](lambda event: isinstance(event, Finished))
        try:
            work(ended)
        except EngineError:  # what has ended before the model fails is as good as ever
            yield from ended.items
            raise
        yield from ended.items
        return
    handed = stepwise(work)
    try:
        for events in handed:
            yield from events
    finally:
        handed.close()
