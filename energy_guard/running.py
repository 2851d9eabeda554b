"""An answer while it is written: its text as it settles, and the rule that may end it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from energy_guard.energy import Row
from energy_guard.errors import EngineError
from energy_guard.events import Retracted, Text
from energy_guard.policy import EarlyStop
from energy_guard.reasoning import ReasoningStream
from energy_guard.request import CancelToken, Event, Finished, Request, Token
from energy_guard.score import Scorer, worst
from energy_guard.shown import ShownPiece, ShownStream
from energy_guard.text import StopStrings, TextStream, joined_glyphs
from energy_guard.trace import Step, Trace


class Running:
    """Follows one attempt. `trace` and `stopped` are there when it has finished.

    heard: somebody listens to the text; without, only the rule is followed. reasoning_open:
    whether the prompt ends inside reasoning. wants_steps: whether it has to see anything before
    the end. request: what the engine is to be asked, so that the rule can end it.
    """

    def __init__(
        self,
        attempt: int,
        request: Request,
        *,
        detector: Scorer,
        window: Window | None,
        heard: bool = True,
        reasoning_open: bool = False,
    ) -> None:
        self.cancel = CancelToken(request.cancel)
        self.request = replace(request, cancel=self.cancel)
        self._attempt = attempt
        self._detector = detector
        self._window = window
        self._heard = heard
        self.wants_steps = heard or window is not None
        self._stream = TextStream()
        self._reasoning_open = reasoning_open
        self._shown = ShownStream(reasoning_open)
        self._stops = StopStrings(request.stop)
        self._steps: list[Step] = []
        self._risks: list[float | None] = []
        self._trace: Trace | None = None

    def feed(self, event: Event) -> Iterator[Text | Retracted]:
        """Take the next event; yield the text that it settles, without reasoning."""
        if isinstance(event, Finished):
            self._trace = event.trace
            if self._heard:
                self._catch_up(None)
                settled = self._stream.finish(event.trace.content_bytes)
                yield from self._texts([s for s in settled if s[0] < event.trace.content_end])
                yield from self._events(self._shown.finish())
        elif isinstance(event, Token):
            self._steps.append(event.step)
            if self._heard:
                piece = event.step.piece
                self._stops.push(piece)
                held_back = self._stops.held_back()
                yield from self._texts(self._stream.push(piece, held_back))
                is_first = len(self._steps) == 1 and not event.ends
                if is_first and self._risk(0) is not None:
                    yield from self._texts(self._stream.at_once(held_back))
        else:
            self._catch_up(Row(event.log_partition, event.row_mean, 0.0, 0.0))

    @property
    def finished(self) -> bool:
        """Whether the attempt is complete."""
        return self._trace is not None

    @property
    def trace(self) -> Trace:
        """The whole attempt; EngineError if it did not finish."""
        if self._trace is None:
            raise EngineError("the backend ended without a trace")
        return self._trace

    def so_far(self, length: int | None = None) -> Trace | None:
        """Return the trace of the first tokens, as if the answer had ended there.

        Args:
            length: how many; all whose next row is known by default.

        Returns:
            None if there is no row yet that follows so many tokens.
        """
        known = len(self._steps) - 1
        length = known if length is None else length
        if not 0 < length <= known:
            return None
        steps = self._steps[:length]
        return Trace.from_steps(
            steps,
            self._steps[length].row,
            finish_reason="stop",
            inverse_temperature=self.request.inverse_temperature,
            reasoning_open=self._reasoning_open,
        )

    @property
    def stopped(self) -> str | None:
        """Why the rule ended the attempt; None if the answer was complete all the same."""
        ended = self._window is not None and self.trace.finish_reason == "stopped"
        return self._window.tripped if self._window and ended else None

    def _catch_up(self, next_row: Row | None) -> None:
        """The row after the last token is known, or known to be missing."""
        if len(self._risks) == len(self._steps):
            return
        step = self._steps[len(self._risks)]
        risk = self._detector.token_risk(step, next_row)
        self._risks.append(risk)
        if self._window is not None:
            self._window.push(step.piece, risk)
            if self._window.tripped:
                self.cancel.cancel("stopped")

    def _risk(self, index: int) -> float | None:
        """The risk of a token; None if it goes by its next row, and that is not known."""
        if index < len(self._risks):
            return self._risks[index]
        return self._detector.token_risk(self._steps[index], None)

    def _texts(self, settled: list[tuple[int, str]]) -> Iterator[Text | Retracted]:
        for indices, text in joined_glyphs(settled):
            yield from self._events(self._shown.push(indices, text))

    def _events(self, shown: Iterable[ShownPiece]) -> Iterator[Text | Retracted]:
        if self._shown.retracted:
            self._shown.retracted = False
            why = "what was written so far is reasoning"
            yield Retracted(self._attempt, why, unquoted=why)
        for piece in shown:
            nll = max(self._steps[i].nll for i in piece.tokens)
            risk = worst(self._risk(i) for i in piece.tokens)
            yield Text(self._attempt, piece.text, nll, risk)


class Window:
    """Watches the risks of the last tokens. Reasoning is not watched: it is unsure by nature.

    tripped: why the rule ends the answer, None while it does not.
    """

    def __init__(self, rule: EarlyStop, detector: Scorer, *, reasoning: bool = False) -> None:
        self.tripped: str | None = None
        self._rule = rule
        self._signal = detector.signal
        self._risks: deque[float] = deque(maxlen=rule.window)
        self._reasoning = ReasoningStream(reasoning)

    def push(self, piece: bytes, risk: float | None) -> None:
        """Take the next token with its risk (None if its row is missing)."""
        if self._reasoning.push(piece):
            self._risks.clear()  # what was before it may have been reasoning too
            return
        if risk is None or self.tripped:
            return
        self._risks.append(risk)
        mean = sum(self._risks) / len(self._risks)
        if len(self._risks) == self._rule.window and mean >= self._rule.risk:
            self.tripped = (
                f"stopped early: the last {self._rule.window} tokens have a mean "
                f"{self._signal} risk of {mean:.2f}, at or above {self._rule.risk:g}"
            )
