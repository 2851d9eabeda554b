"""The rows of one step, reduced on a thread of its own while the engine decodes the next token.

Not sooner: between two decodes the thread that writes works in Python, and whoever takes the
interpreter's lock from it has it woken up again, which takes longer than a short row.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Final

import numpy as np
import numpy.typing as npt

from energy_guard.energy import Row
from energy_guard.likeliest import Likeliest
from energy_guard.trace import Step

Rows = npt.NDArray[np.float32]

Reduce = Callable[[Rows], Row]
"""Takes a row, shape (vocabulary,); RowError if it is none of raw logits."""

_NOT_YET: Final = RuntimeError("a row was waited for that nobody reduces")


def has_idle_cores(threads: int) -> bool:
    """Whether a thread more does not take a processor from those that decode."""
    usable = getattr(os, "sched_getaffinity", None)  # not on every system
    return threads < (len(usable(0)) if usable else os.cpu_count() or 1)


class LateRow:
    """A row whose numbers are computed by another thread.

    compute: returns them. wanted: where that thread looks for work.
    """

    __slots__ = ("_begun", "_being_computed", "_compute", "_outcome", "_wanted")

    def __init__(self, compute: Callable[[], Row], wanted: SimpleQueue[LateRow | None]) -> None:
        self._compute = compute
        self._wanted = wanted
        self._begun = False
        self._being_computed = Lock()
        self._being_computed.acquire()
        self._outcome: Row | Exception = _NOT_YET

    def begin(self) -> None:
        """Have it computed: the engine decodes now, or somebody asks for the numbers."""
        if not self._begun:
            self._wanted.put(self)  # first: twice is no harm, and never is waited for without end
            self._begun = True

    def compute(self) -> None:
        """Compute its numbers, whatever comes of it: who asks for them gets the error."""
        if self._outcome is not _NOT_YET:  # begun twice
            return
        try:
            self._outcome = self._compute()
        except Exception as error:  # noqa: BLE001
            self._outcome = error
        self._being_computed.release()

    def wait(self) -> bool:
        """Wait until it was computed; return whether it is a row of raw logits."""
        return isinstance(self._wait(), Row)

    def now(self) -> Row:
        """Return its numbers, waiting for them when need be.

        Raises:
            RowError: It is no row of raw logits.

        """
        outcome = self._wait()
        if isinstance(outcome, Row):
            return outcome
        raise outcome

    def _wait(self) -> Row | Exception:
        self.begin()
        with self._being_computed:
            return self._outcome


@dataclass(frozen=True, slots=True)
class LateStep:
    """A chosen token whose row is not reduced yet; see `Step`."""

    id: int
    piece: bytes
    token_logit: float
    row: LateRow
    likeliest: Likeliest = ()

    def now(self) -> Step:
        """Return the step, waiting for its row when need be; RowError as in `LateRow.now`."""
        return Step(self.id, self.piece, self.token_logit, self.row.now(), self.likeliest)


class Behind:
    """Reduces rows one token behind: a start waits for the rows before it.

    `reduce` is called on the thread, for one row after the other, while `running` lasts.
    """

    def __init__(self, reduce: Reduce) -> None:
        self._reduce = reduce
        self._copy = np.empty(0, np.float32)
        self._open: Sequence[LateRow] = ()
        self._wanted: SimpleQueue[LateRow | None] = SimpleQueue()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have the thread until the block ends."""
        thread = Thread(target=self._work, name="energy-guard-rows", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.begin()
            self._wanted.put(None)
            thread.join()

    def start(self, row: Rows) -> LateRow:
        """Take a copy of a row, shape (vocabulary,), to be reduced.

        Raises:
            RowError: The row before it was none of raw logits.

        """
        self.settle()
        if self._copy.shape != row.shape:
            self._copy = np.empty_like(row)
        np.copyto(self._copy, row)
        late = LateRow(partial(self._reduce, self._copy), self._wanted)
        self._open = (late,)
        return late

    def start_step(self, rows: Rows) -> Sequence[LateRow]:
        """Take the rows of several sequences, shape (N, vocabulary).

        They are not to be overwritten before they are `now`. What is wrong with a row is said by
        its own `now` alone: some are of sequences that ended.
        """
        self._wait()
        self._open = [LateRow(partial(self._reduce, row), self._wanted) for row in rows]
        return self._open

    def begin(self) -> None:
        """Reduce what was started: the engine decodes now."""
        for late in self._open:
            late.begin()

    def settle(self) -> None:
        """Wait for what is being reduced; RowError as in `start`, once."""
        for late in self._wait():
            late.now()

    def _wait(self) -> Sequence[LateRow]:
        """Wait for what is open, and return it; whoever interrupts that leaves it open."""
        late = self._open
        for each in late:
            each.wait()
        self._open = ()
        return late

    def _work(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            wanted.compute()
