"""Fits a detector to several models' answers at once, so that its P(wrong) means the same of each.

Each model has a level of its own, and people's questions are harder than a quiz by as much for all
of them. How much more often sums than dates are wrong is learnt, too. Tasks have levels of their
own as far as they need them, so that one task that is nearly all wrong tells little of its kind;
an answer to another task is judged by the mean level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from energy_guard.calibrate.detector import logistic, scaled, scaling
from energy_guard.energy import Bools, Floats
from energy_guard.extras import needs_extra
from energy_guard.fitted import DetectorTraining, FittedDetector, Term

RIDGE: Final = 0.05
"""Weight of the penalty on squared weights beside the mean log-loss."""

_MOST: Final = 120
"""Answers of one model to one task beyond which they gain no further weight together."""

_FLATTEST: Final = 0.1
"""Where log-odds tell nothing or the reverse, they still order a model's answers."""

_FREE: Final = 1e-6
"""A penalty on levels of models: one without answers has no optimum."""

_TASKS: Final = 0.004
"""The penalty on levels of tasks: what tells them apart is their features' first, if they can.
Chosen by leaving out one model and one task at a time, of 0 (no levels), 0.002, 0.004 and 0.007."""


@dataclass(frozen=True, eq=False)
class Answers:
    """Scored answers of several models.

    names: the features. values: shape (n, names). wrong, models, tasks: shape (n,). at_home:
    whether the question is one of the quiz, shape (n,).
    """

    names: tuple[str, ...]
    values: Floats
    wrong: Bools
    models: npt.NDArray[np.str_]
    tasks: npt.NDArray[np.str_]
    at_home: Bools

    def part(self, keep: Bools) -> Answers:
        """Return some of them."""
        return Answers(
            self.names,
            self.values[keep],
            self.wrong[keep],
            self.models[keep],
            self.tasks[keep],
            self.at_home[keep],
        )


@dataclass(frozen=True)
class Across:
    """What was learnt.

    detector: its score is the log-odds of being wrong of a model at the mean level, at home.
    levels: how much more often each model is wrong, in log-odds; their mean is 0. elsewhere: by
    how much people's questions are harder than the quiz at the same score.
    """

    detector: FittedDetector
    levels: dict[str, float]
    elsewhere: float


def fit_across(answers: Answers, ridge: float = RIDGE) -> Across:
    """Fit a detector, a level for each model, and by how much people's questions are harder.

    Each model's answers to each task have the same weight together, if they are `_MOST` or more.
    """
    centre, scale = scaling(answers.values)
    models, away = np.unique(answers.models), ~answers.at_home
    tasks = np.unique(answers.tasks[away])
    columns = np.hstack(
        [
            scaled(answers.values, centre, scale),
            (answers.models[:, None] == models).astype(np.float64),
            away[:, None].astype(np.float64),
            (away[:, None] & (answers.tasks[:, None] == tasks)).astype(np.float64),
        ]
    )
    count, others = len(answers.names), len(answers.names) + len(models)
    penalty = np.concatenate(
        [np.full(count, ridge), np.full(len(models) + 1, _FREE), np.full(len(tasks), _TASKS)]
    )
    first = np.zeros(len(penalty))
    point = logistic(columns, answers.wrong, _weights(answers), penalty, first=first)
    levels = point[count:others]
    terms = tuple(
        Term(feature=f, centre=c, scale=s, weight=w)
        for f, c, s, w in zip(
            answers.names, centre.tolist(), scale.tolist(), point[:count].tolist(), strict=True
        )
    )
    training = DetectorTraining(
        tasks=tuple(np.unique(answers.tasks).tolist()),
        n=len(answers.wrong),
        n_wrong=int(answers.wrong.sum()),
    )
    detector = FittedDetector(terms=terms, intercept=float(levels.mean()), training=training)
    differences = dict(zip(models.tolist(), (levels - levels.mean()).tolist(), strict=True))
    return Across(detector, differences, float(point[others]))


def level_of(log_odds: Floats, wrong: Bools) -> float:
    """Return what has to be added to log-odds so that they are right on average.

    Args:
        log_odds: By a detector, shape (n,).
        wrong: Whether each answer is, shape (n,).

    """
    return level_of_tasks([(log_odds, wrong)])


def level_of_tasks(tasks: Sequence[tuple[Floats, Bools]]) -> float:
    """Return what has to be added to log-odds so that they are right on average over tasks.

    Tasks count alike, however many answers they have. One right and one wrong answer of each more
    are counted, so that answers that are all right or all wrong give a level, too.

    Args:
        tasks: Log-odds by a detector, and whether each answer is wrong, shape (n,) each.

    """
    with needs_extra("eval"):
        from scipy.optimize import brentq
        from scipy.special import expit

    share = np.mean([(wrong.sum() + 1) / (len(wrong) + 2) for _, wrong in tasks])
    far = max(float(np.abs(odds).max()) + math.log(len(odds) + 2) + 1 for odds, _ in tasks)

    def too_much(shift: float) -> float:
        return float(np.mean([expit(odds + shift).mean() for odds, _ in tasks]) - share)

    return float(brentq(too_much, -far, far))


def slope_of_tasks(tasks: Sequence[tuple[Floats, Bools]]) -> float:
    """Return how much log-odds count on tasks, by a regression in which tasks count alike.

    At least `_FLATTEST`, and at most 1: what is steeper on some tasks is not so on others, and to
    be too sure is worse.

    Args:
        tasks: Log-odds by a detector, and whether each answer is wrong, shape (n,) each.

    """
    odds, wrong = (np.concatenate(part) for part in zip(*tasks, strict=True))
    weights = np.concatenate([np.full(len(some), 1 / len(some)) for some, _ in tasks])
    columns = np.column_stack([odds, np.ones_like(odds)])
    free = np.full(2, _FREE)
    point = logistic(columns, wrong, weights / len(tasks), free, first=np.array([1.0, 0.0]))
    return float(np.clip(point[0], _FLATTEST, 1.0))


def _weights(answers: Answers) -> Floats:
    weights = np.zeros(len(answers.wrong))
    for model in np.unique(answers.models):
        for task in np.unique(answers.tasks):
            cell = (answers.models == model) & (answers.tasks == task)
            if cell.any():
                weights[cell] = min(int(cell.sum()), _MOST) / cell.sum()
    return np.asarray(weights / weights.sum())
