"""Telling the model the rule of a confidence target, instead of guarding it (Kalai et al. 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from energy_guard.estimates.confidence_targets import TARGETS, Graded, penalty, target_score
from energy_guard.estimates.estimate import proportion
from energy_guard.evaluate.figures import measured
from energy_guard.questions.answered import Answered
from energy_guard.report.results import Told

TOLD: Final = tuple(target for target in TARGETS if target > 0)
"""At target 0 an error costs nothing, and there is no rule to tell."""


def rule_of(target: float) -> str:
    """Return the rule as the model is told it.

    >>> rule_of(0.75)[:61]
    'Answer only if you are more than 75 % sure: a right answer ea'
    """
    return (
        f"Answer only if you are more than {100 * target:.0f} % sure: a right answer earns 1 "
        f'point, a wrong one costs {penalty(target):.0f}, and "I don\'t know" earns 0.'
    )


def told_figures(
    untold: Sequence[Answered], told: Mapping[float, Sequence[Answered]]
) -> list[Told]:
    """Return S_t of each target's answers, and of the same questions without the rule."""
    by_id = {answered.id: answered for answered in untold}
    found: list[Told] = []
    for target, answers in sorted(told.items()):
        pairs = [(by_id[a.id], a) for a in answers if a.id in by_id]
        if pairs:
            before, after = (graded(answers) for answers in zip(*pairs, strict=True))
            right, wrong = int(after.right.sum()), int(after.wrong.sum())
            found.append(
                {
                    "target": target,
                    "declined": sum(told.declined for _, told in pairs),
                    "right_of_answered": measured(proportion(right, right + wrong)),
                    "untold": measured(target_score(before, target)),
                    "told": measured(target_score(after, target)),
                }
            )
    return found


def graded(answers: Sequence[Answered]) -> Graded:
    """Return what became of the questions, for confidence targets."""
    return Graded(
        right=np.array([a.outcome == "right" and not a.declined for a in answers], dtype=bool),
        wrong=np.array([a.wrong for a in answers], dtype=bool),
        answerable=np.array([a.answerable for a in answers], dtype=bool),
        tasks=np.array([a.task for a in answers], dtype=str),
    )
