"""Wrong answers that a guard caught, and those that it missed, to be looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from energy_guard.energy import Floats
from energy_guard.evaluate.task_arrays import Task
from energy_guard.locate import Span
from energy_guard.questions.answered import Answered
from energy_guard.report.results import ExampleAnswers

_MOST: Final = 8
_OF_A_TASK: Final = 2
_QUESTION: Final = 400
"""Characters of a question that are kept."""


def examples_of(tasks: Sequence[Task], p_wrong: Floats | None) -> ExampleAnswers:
    """Return the wrong answers with the highest risk (catches) and with the lowest (misses).

    p_wrong: of all rows in the order of the tasks; if there is none, the risk is nll:max. A few
    of each task, so that one hard task is not all that is seen.
    """
    answers = [answered for task in tasks for answered in task.answers]
    single = np.concatenate([task.single("nll:max") for task in tasks])
    risk = single if p_wrong is None else p_wrong
    wrong = np.concatenate([task.wrong & task.ranked for task in tasks])
    lowest = [at for at in np.argsort(risk, kind="stable").tolist() if wrong[at]]
    known = [at for at in lowest if np.isfinite(risk[at])]
    return {
        "catches": _shown(answers, risk, known[::-1], p_wrong is not None),
        "misses": _shown(answers, risk, known, p_wrong is not None),
    }


def _shown(
    answers: Sequence[Answered], risk: Floats, order: Sequence[int], calibrated: bool
) -> list[dict[str, Any]]:
    """The first of an order, with what a heat map is drawn from."""
    seen: Counter[str] = Counter()
    shown: list[dict[str, Any]] = []
    for at in order:
        answered = answers[at]
        seen[answered.task] += 1
        if seen[answered.task] <= _OF_A_TASK and len(shown) < _MOST:
            shown.append(_example(answered, float(risk[at]), calibrated))
    return shown


def _example(answered: Answered, risk: float, calibrated: bool) -> dict[str, Any]:
    trace, located = answered.trace, answered.located
    question = answered.question
    return {
        "id": answered.id,
        "task": answered.task,
        "question": question if len(question) <= _QUESTION else question[:_QUESTION] + "…",
        "answerable": answered.answerable,
        "answer": trace.text,
        "span": located.text if isinstance(located, Span) else None,
        "p_wrong" if calibrated else "score": risk,
        "detector": "nll:max",
        "thresholds": {"on": "p_wrong", "warn": None, "abstain": None},
        "content_end": trace.content_end,
        "tokens": trace.tokens(),
    }
