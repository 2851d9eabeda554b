"""An answer while it is written: its text as it settles, and the rule that may end it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from energy_guard.energy import Row
from energy_guard.errors import EngineError
from energy_guard.events import Text
from energy_guard.policy import EarlyStop
from energy_guard.request import CancelToken, Event, Partition, Request, Token
from energy_guard.score import Detector, worst
from energy_guard.text import StopStrings, TextStream, joined_glyphs
from energy_guard.trace import Step, Trace


class Running:
    """Follows one attempt. `trace` and `stopped` are there when it has finished."""

    def __init__(
        self, attempt: int, request: Request, detector: Detector, rule: EarlyStop | None
    ) -> None:
        self.cancel = CancelToken(request.cancel)
        self._tripped: str | None = None
        self._attempt = attempt
        self._detector = detector
        self._rule = rule
        self._stream = TextStream()
        self._stops = StopStrings(request.stop)
        self._steps: list[Step] = []
        self._risks: list[float | None] = []
        self._window: deque[float] = deque(maxlen=rule.window if rule else 1)
        self._trace: Trace | None = None

    def feed(self, event: Event) -> Iterator[Text]:
        """Take the next event; yield the text that it settles."""
        if isinstance(event, Token):
            self._steps.append(event.step)
            piece = event.step.piece
            self._stops.push(piece)
            yield from self._texts(self._stream.push(piece, self._stops.held_back()))
        elif isinstance(event, Partition):
            self._complete(Row(event.log_partition, event.row_mean, 0.0, 0.0))
        else:
            if len(self._risks) < len(self._steps):
                self._complete(None)
            self._trace = event.trace
            settled = self._stream.finish(event.trace.content_bytes)
            yield from self._texts([s for s in settled if s[0] < event.trace.content_end])

    @property
    def trace(self) -> Trace:
        """The whole attempt; EngineError where it did not finish."""
        if self._trace is None:
            raise EngineError("the backend ended without a trace")
        return self._trace

    @property
    def stopped(self) -> str | None:
        """Why the rule ended the attempt; None where the answer was complete all the same."""
        return self._tripped if self.trace.finish_reason == "stopped" else None

    def _complete(self, next_row: Row | None) -> None:
        """The row after the last token is known, or known to be missing."""
        risk = self._detector.token_risk(self._steps[len(self._risks)], next_row)
        self._risks.append(risk)
        if self._rule is None or risk is None or self.cancel.cancelled:
            return
        self._window.append(risk)
        mean = sum(self._window) / len(self._window)
        if len(self._window) == self._rule.window and mean >= self._rule.risk:
            self._tripped = (
                f"stopped early: the last {self._rule.window} tokens have a mean "
                f"{self._detector.signal} risk of {mean:.2f}, at or above {self._rule.risk:g}"
            )
            self.cancel.cancel("stopped")

    def _texts(self, settled: list[tuple[int, str]]) -> Iterator[Text]:
        for indices, text in joined_glyphs(settled):
            nll = max(self._steps[i].nll for i in indices)
            yield Text(self._attempt, text, nll, worst(self._risks[i] for i in indices))
