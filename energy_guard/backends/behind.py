"""The rows of one step, reduced on a thread of its own while the engine decodes the next token.

Not sooner: between two decodes the thread that writes works in Python, and whoever takes the
interpreter's lock from it has it woken up again, which takes longer than a short row.
"""

from __future__ import annotations

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

_LONG: Final = 100_000
"""Entries of a row whose copy takes longer than to have another thread make it while a token is
sampled from that row."""


_NOT_YET: Final = RuntimeError("a row was waited for that nobody reduces")


class LateRow:
    """A row whose numbers are computed by another thread, which `begin` has begin with it."""

    __slots__ = ("_begin", "_being_computed", "_outcome")

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self._being_computed = Lock()
        self._being_computed.acquire()
        self._outcome: Row | Exception = _NOT_YET

    def compute(self, reduce: Reduce, row: Rows) -> None:
        """Compute its numbers, whatever comes of it: who asks for them gets the error."""
        if self._outcome is not _NOT_YET:  # begun twice, by somebody who was interrupted
            return
        try:
            self._outcome = reduce(row)
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
        if self._outcome is _NOT_YET:
            self._begin()
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
        self._copying = Lock()
        self._open: Sequence[LateRow] = ()
        self._started: Callable[[], None] | None = None
        self._wanted: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

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
        """Take a row, shape (vocabulary,); it may be overwritten once it was `copied`.

        Raises:
            RowError: The row before it was none of raw logits.

        """
        self.settle()
        if self._copy.shape != row.shape:
            self._copy = np.empty_like(row)
        if row.size < _LONG:
            np.copyto(self._copy, row)
        else:
            copying = Lock()
            copying.acquire()
            self._copying = copying  # a new one: nobody waits for a start that was interrupted
            self._wanted.put(partial(self._copy_row, row, copying))
        late = LateRow(self.begin)
        self._start([late], partial(late.compute, self._reduce, self._copy))
        return late

    def copied(self) -> None:
        """Wait until the row that was started last may be overwritten.

        Who starts it before the token is sampled finds it copied when that is done.
        """
        with self._copying:
            pass

    def start_step(self, rows: Rows) -> Sequence[LateRow]:
        """Take the rows of several sequences, shape (N, vocabulary).

        They are not to be overwritten before they are `now`. What is wrong with a row is said by
        its own `now` alone: some are of sequences that ended.
        """
        self._wait()
        late = [LateRow(self.begin) for _ in rows]
        self._start(late, partial(self._reduce_all, rows, late))
        return late

    def begin(self) -> None:
        """Reduce what was started: the engine decodes now, or somebody asks for the numbers."""
        started = self._started
        if started is not None:
            self._wanted.put(
                started
            )  # first: twice is no harm, and never is waited for without end
            self._started = None

    def settle(self) -> None:
        """Wait for what is being reduced; RowError as in `start`, once."""
        for late in self._wait():
            late.now()

    def _start(self, late: Sequence[LateRow], work: Callable[[], None]) -> None:
        self._started = work  # first: a row that nobody computes would be waited for without end
        self._open = late

    def _wait(self) -> Sequence[LateRow]:
        """Wait for what is open, and return it; whoever interrupts that leaves it open."""
        late = self._open
        for each in late:
            each.wait()
        self._open = ()
        return late

    def _work(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            wanted()

    def _copy_row(self, row: Rows, copying: Lock) -> None:
        np.copyto(self._copy, row)
        copying.release()

    def _reduce_all(self, rows: Rows, late: Sequence[LateRow]) -> None:
        for each, row in zip(late, rows, strict=True):
            each.compute(self._reduce, row)
