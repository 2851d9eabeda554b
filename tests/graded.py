"""Graded answers whose risk is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from energy_guard.backends import ModelInfo
from energy_guard.decide import Attempt
from energy_guard.energy import Row
from energy_guard.locate import Span
from energy_guard.questions.answered import Answered
from energy_guard.score import Unscored
from energy_guard.trace import Step, Trace

INFO = ModelInfo("tiny", "00ff", backend="scripted")


def answered(number: int, wrong: bool, nll: float, outcome: str | None = None) -> Answered:
    """An answer of three tokens; the second one has this nll, and all rows follow from it."""
    rng = np.random.default_rng(number)
    steps = []
    for t in range(3):
        surprise = nll if t == 1 else float(rng.uniform(0.01, 0.2))
        partition, mean = float(rng.normal(20, 1)), float(rng.normal(5, 0.1))
        row = Row(partition, mean, entropy=surprise + 0.1, margin=1 / (surprise + 0.1))
        steps.append(Step(65 + t, b"abc"[t : t + 1], partition - surprise, row))
    trace = Trace.from_steps(steps, Row(20.0, 5.0, 0.1, 1.0))
    attempt = Attempt(trace, Span((0, 1, 2), "abc"), Unscored("stored"))
    result: Any = outcome or ("wrong" if wrong else "right")
    return Answered(
        str(number), f"t{number % 3}", f"question {number}?", None, (), True, result, (attempt,)
    )


def many(n: int, seed: int = 0, first: int = 0) -> list[Answered]:
    """Answers of which the share wrong grows with the nll: 1 − exp(−nll)."""
    rng = np.random.default_rng(seed)
    risks = rng.exponential(0.7, n) + 0.02
    return [
        answered(first + i, bool(rng.random() < 1 - np.exp(-risk)), float(risk))
        for i, risk in enumerate(risks)
    ]
