"""The rule that may end a running answer, one token at a time."""

from __future__ import annotations

from collections import deque

from energy_guard.policy import EarlyStop
from energy_guard.score import Scorer


class Window:
    """Watches the risks of the last tokens. Reasoning is not watched: it is unsure by nature.

    tripped: why the rule ends the answer, None while it does not.
    """

    def __init__(self, rule: EarlyStop, detector: Scorer, reasoning: bool = False) -> None:
        self.tripped: str | None = None
        self._rule = rule
        self._signal = detector.signal
        self._risks: deque[float] = deque(maxlen=rule.window)
        self._tail = b"<think>" if reasoning else b""
        self._reasoning = reasoning

    def push(self, piece: bytes, risk: float | None) -> None:
        """Take the next token with its risk (None where its row is missing)."""
        self._tail = (self._tail + piece)[-64:]
        opened, closed = self._tail.rfind(b"<think>"), self._tail.rfind(b"</think>")
        was_reasoning = self._reasoning
        if opened != closed:
            self._reasoning = opened > closed
        if self._reasoning or was_reasoning or risk is None or self.tripped:
            return
        self._risks.append(risk)
        mean = sum(self._risks) / len(self._risks)
        if len(self._risks) == self._rule.window and mean >= self._rule.risk:
            self.tripped = (
                f"stopped early: the last {self._rule.window} tokens have a mean "
                f"{self._signal} risk of {mean:.2f}, at or above {self._rule.risk:g}"
            )
