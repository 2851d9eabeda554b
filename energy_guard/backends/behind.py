"""One row at a time, reduced on a thread of its own while the engine decodes the next token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Thread

import numpy as np
import numpy.typing as npt

from energy_guard.energy import Row, RowReducer
from energy_guard.likeliest import Likeliest
from energy_guard.trace import Step


class LateRow:
    """A row whose numbers are being computed by another thread."""

    __slots__ = ("_being_computed", "_outcome")

    def __init__(self) -> None:
        self._being_computed = Lock()
        self._being_computed.acquire()
        self._outcome: Row | Exception

    def compute(self, reducer: RowReducer, row: npt.NDArray[np.float32]) -> None:
        """Compute its numbers, whatever comes of it: who asks for them gets the error."""
        try:
            self._outcome = reducer.reduce(row)
        except Exception as error:  # noqa: BLE001
            self._outcome = error
        self._being_computed.release()

    @property
    def is_one(self) -> bool:
        """Whether it is a row of raw logits; known once it was computed."""
        with self._being_computed:
            return isinstance(self._outcome, Row)

    def now(self) -> Row:
        """Return its numbers, waiting for them when need be.

        Raises:
            RowError: It is no row of raw logits.

        """
        with self._being_computed:
            outcome = self._outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


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
    """Reduces rows one token behind: `start` copies a row, and waits for the one before it.

    The reducer belongs to the thread from `start` on until that row is `now` there.
    """

    def __init__(self, reducer: RowReducer) -> None:
        self._reducer = reducer
        self._copy = np.empty(reducer.size, np.float32)
        self._open: LateRow | None = None
        self._wanted: SimpleQueue[LateRow | None] = SimpleQueue()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have the thread until the block ends."""
        thread = Thread(target=self._work, name="energy-guard-rows", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._wanted.put(None)
            thread.join()

    def start(self, row: npt.NDArray[np.float32]) -> LateRow:
        """Begin with a row, shape (vocabulary,); it may be overwritten once this has returned.

        Raises:
            RowError: The row before it was none of raw logits.

        """
        self.settle()
        np.copyto(self._copy, row)
        late = LateRow()
        self._wanted.put(late)  # first: a row that nobody computes would be waited for without end
        self._open = late
        return late

    def settle(self) -> None:
        """Wait for the row that is being reduced, if there is one; RowError as in `start`, once."""
        late = self._open
        if late is not None:
            whole = late.is_one  # waits; whoever interrupts that leaves it open for the next time
            self._open = None
            if not whole:
                late.now()

    def _work(self) -> None:
        while (late := self._wanted.get()) is not None:
            late.compute(self._reducer, self._copy)
