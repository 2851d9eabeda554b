"""The table of 'Spilled Energy in Large Language Models' from answers that are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from energy_guard.energy import Floats
from energy_guard.estimates.ranking import OF_EACH
from energy_guard.evaluate.figures import measured
from energy_guard.evaluate.paired_auroc import Aurocs, aurocs, mean_auroc
from energy_guard.evaluate.task_arrays import Task, tasks_of
from energy_guard.questions.answered import Answered
from energy_guard.questions.unsure import sure
from energy_guard.questions.wording import EACH_KIND
from energy_guard.report.reproduced import PooledSignal, SpilledEnergyFigures
from energy_guard.reproduce.energies import ENERGIES
from energy_guard.score import usual_side
from energy_guard.trace import SCHEMA

SIGNALS: Final = (*ENERGIES, "nll", "entropy")
POOLED: Final = ("max", "min", "mean", "last", "sum")
_SINGLES: Final = tuple(f"{signal}:{pooling}" for signal in SIGNALS for pooling in POOLED)
_PARTS: Final = ("span", "answer")


def spilled_energy_figures(
    answers: Sequence[Answered], made_with: Mapping[str, Any]
) -> SpilledEnergyFigures:
    """Return the AUROC of each signal and pooling, over the exact answer and over the whole one.

    Answers that were not located, were declined or are graded unsure stand in no figure.

    Args:
        answers: Graded answers with their traces.
        made_with: How they were asked, as their file says.

    """
    tasks = tasks_of(sure(answers))
    rankings = {task.name: _ranking(task) for task in tasks if _both_classes(task)}
    enough = {name: r for name, r in rankings.items() if r.rarer >= OF_EACH}
    counted = enough or rankings  # the means of few answers say themselves that they are that
    return {
        "schema": SCHEMA,
        "model": dict(made_with["model"]),
        "wording": str(made_with.get("wording", EACH_KIND)),
        "tasks": {
            task.name: [int(task.ranked.sum()), int(task.wrong[task.ranked].sum())]
            for task in tasks
        },
        "counted": list(counted),
        "signals": [_pooled(single, rankings, list(counted.values())) for single in _SINGLES],
    }


def _both_classes(task: Task) -> bool:
    wrong = task.wrong[task.ranked]
    return bool(wrong.any() and not wrong.all())


def _ranking(task: Task) -> Aurocs:
    kept = task.ranked
    risks: dict[str, Floats] = {
        f"{part}.{single}": task.single(single, part)[kept]
        for part in _PARTS
        for single in _SINGLES
    }
    return aurocs(risks, task.wrong[kept])


def _pooled(single: str, rankings: Mapping[str, Aurocs], counted: Sequence[Aurocs]) -> PooledSignal:
    signal, _, pooling = single.partition(":")
    exact, whole = (f"{part}.{single}" for part in _PARTS)
    return {
        "signal": signal,
        "pooling": pooling,
        "riskier": usual_side(signal),
        "exact": {task: measured(ranking.measured(exact)) for task, ranking in rankings.items()},
        "whole": {task: measured(ranking.measured(whole)) for task, ranking in rankings.items()},
        "exact_mean": measured(mean_auroc(counted, exact)),
        "whole_mean": measured(mean_auroc(counted, whole)),
        "gain": measured(mean_auroc(counted, exact, other=whole)),
    }
