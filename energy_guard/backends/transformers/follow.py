"""From the choices of a batch, step by step, to one trace a sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from energy_guard.backends.recorder import Recorder
from energy_guard.backends.transformers.read_along import Choice
from energy_guard.backends.transformers.reduce import check_logit, checked
from energy_guard.energy import Row
from energy_guard.request import Event
from energy_guard.trace import INCOMPLETE, FinishReason, Step

Stop = Callable[[int, Step], FinishReason | None]
"""Asked after every step of a sequence whether it is to end now."""


class Following:
    """One `Recorder` a sequence of a batch; its number there is its row in every step.

    emit: takes the events of one step; returns when whoever listens wants more. piece: the bytes
    of a token. ends: tokens that end a sequence. last_row: whether the row after a last token is
    wanted. lengths: of answers that are given, end tokens or not.
    """

    def __init__(
        self,
        recorders: Sequence[Recorder],
        piece: Callable[[int], bytes],
        ends: frozenset[int],
        emit: Callable[[list[Event]], None],
        stop: Stop,
        last_row: bool,
        lengths: Sequence[int] = (),
    ) -> None:
        self.recorders = recorders
        self._piece = piece
        self._ends = ends
        self._emit = emit
        self._stop = stop
        self._last_row = last_row
        self._lengths = lengths
        self._open = dict.fromkeys(range(len(recorders)))

    def step(self, choices: Sequence[Choice]) -> list[bool]:
        """Take one step of all sequences; return which of them have ended."""
        events: list[Event] = []
        steps: dict[int, Step] = {}
        for i in list(self._open):
            recorder, choice = self.recorders[i], choices[i]
            if self._ended(i):  # one step ago: this is the row after its last token
                events += self._close(i, checked(choice.row))
                continue
            steps[i] = self._step_of(choice)
            ends = choice.done == "eos" or choice.token in self._ends
            events += recorder.add(steps[i], ends)
            recorder.reason = recorder.reason or choice.done
        self._hand_over(events)
        self._hand_over([event for i, step in steps.items() for event in self._look(i, step)])
        return [self._ended(i) for i in range(len(self.recorders))]

    @property
    def open(self) -> bool:
        """Whether a sequence is not complete, or waits for its last row."""
        return bool(self._open)

    @property
    def waiting(self) -> bool:
        """Whether a sequence still waits for the row after its last token."""
        return any(self._wants_row(i) for i in self._open)

    def finish(self, rows: Sequence[Row] | None) -> None:
        """Close what is open, with the rows after the last tokens where they were evaluated."""
        events: list[Event] = []
        for i in list(self._open):
            wanted = rows is not None and self._wants_row(i)
            events += self._close(i, checked(rows[i]) if rows is not None and wanted else None)
        self._hand_over(events)

    def _step_of(self, choice: Choice) -> Step:
        """The step of a choice; RowError if its numbers are broken."""
        row = checked(choice.row)
        check_logit(choice.token_logit, choice.token)
        piece = self._piece(choice.token)
        return Step(choice.token, piece, choice.token_logit, row, choice.likeliest)

    def _look(self, i: int, step: Step) -> list[Event]:
        """Let whoever heard of the step end the sequence; close it where no row is to come."""
        recorder = self.recorders[i]
        stopped = self._stop(i, step)
        if stopped is not None and not self._ended(i):
            recorder.reason = stopped
        return self._close(i, None) if self._ended(i) and not self._wants_row(i) else []

    def _ended(self, i: int) -> bool:
        recorder = self.recorders[i]
        if recorder.reason is None or not self._lengths or recorder.reason in INCOMPLETE:
            return recorder.reason is not None
        return len(recorder) >= self._lengths[i]

    def _wants_row(self, i: int) -> bool:
        return self._last_row and self.recorders[i].wants_last_row

    def _close(self, i: int, row: Row | None) -> list[Event]:
        events = self.recorders[i].finish(row)
        del self._open[i]
        return events

    def _hand_over(self, events: list[Event]) -> None:
        if events:
            self._emit(events)
