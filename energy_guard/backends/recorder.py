"""One sequence while it is generated: steps in, events out, one trace at the end.

Every backend uses this, so stop strings, limits and the last row mean the same everywhere.
"""

from __future__ import annotations

from energy_guard.energy import Row
from energy_guard.errors import EngineError
from energy_guard.request import Event, Finished, Partition, Request, Token
from energy_guard.text import StopStrings
from energy_guard.trace import FinishReason, Step, Trace


class Recorder:
    """Collects the steps of sequence number `number`; O(1) memory a token."""

    def __init__(
        self,
        number: int,
        prompt_tokens: int,
        stop: tuple[str, ...] = (),
        max_tokens: int | None = None,
        inverse_temperature: float = 1.0,
        reasoning_open: bool = False,
    ) -> None:
        self.number = number
        self.prompt_tokens = prompt_tokens
        self.reason: FinishReason | None = None
        self._stops = StopStrings(stop)
        self._max_tokens = max_tokens
        self._inverse_temperature = inverse_temperature
        self._reasoning_open = reasoning_open
        self._steps: list[Step] = []
        self._bytes = 0
        self._content_bytes: int | None = None

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: Step, ends: bool = False) -> list[Event]:
        """Take the next step; `ends` marks the model's end token, which has no content.

        Sets `reason` when the sequence is complete with this step.
        """
        events: list[Event] = [self._partition(step.row)] if self._steps else []
        events.append(Token(self.number, step, ends=ends))
        self._steps.append(step)
        if ends and self._content_bytes is None:
            self.reason, self._content_bytes = "eos", self._bytes
        if self.reason is not None:  # what follows in given ids is no content
            return events
        self._bytes += len(step.piece)
        self._content_bytes = self._stops.push(step.piece)
        if self._content_bytes is not None:
            self.reason = "stop"
        elif len(self._steps) == self._max_tokens:
            self.reason = "length"
        return events

    def interrupted(self, request: Request) -> bool:
        """Set `reason` and return True if the request was cancelled or its time is up."""
        reason = request.interrupted
        self.reason = reason or self.reason
        return reason is not None

    @property
    def ids(self) -> list[int]:
        """The tokens so far."""
        return [step.id for step in self._steps]

    @property
    def last(self) -> Step:
        """The last step."""
        return self._steps[-1]

    @property
    def wants_last_row(self) -> bool:
        """Whether the row after the last token has still to be evaluated.

        An end token needs none, and somebody who cancelled does not want to wait for one.
        """
        return bool(self._steps) and self.reason in ("stop", "length", "closed")

    def finish(self, last_row: Row | None = None) -> list[Event]:
        """Close the sequence, with the row after the last token where it was evaluated."""
        if self.reason is None:
            raise EngineError("the engine ended the sequence without a reason")
        events: list[Event] = [self._partition(last_row)] if last_row is not None else []
        return [*events, Finished(self.number, self.reason, self.trace(last_row))]

    def trace(self, last_row: Row | None) -> Trace:
        """Return what was collected."""
        return Trace.from_steps(
            self._steps,
            last_row,
            content_bytes=self._bytes if self._content_bytes is None else self._content_bytes,
            finish_reason=self.reason or "closed",
            prompt_tokens=self.prompt_tokens,
            inverse_temperature=self._inverse_temperature,
            reasoning_open=self._reasoning_open,
        )

    def _partition(self, row: Row) -> Partition:
        return Partition(self.number, len(self._steps) - 1, row.log_partition, row.mean)
