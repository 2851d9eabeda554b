"""Scores and P(wrong) of answers by detectors and calibrations that have not seen them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from energy_guard.calibrate import fit_calibration
from energy_guard.energy import Floats
from energy_guard.evaluate.fit import Examples, adapt, fit, folds_of
from energy_guard.evaluate.folds import CrossFitted, cross_fit
from energy_guard.evaluate.scored import Task, examples

FEWEST: Final = 10
"""Answers of the rarer class below which nothing is fitted: two for each of five folds."""


def fits(task: Task) -> bool:
    """Whether a detector can be fitted to a task's answers."""
    wrong = int(task.wrong[task.fittable].sum())
    return min(wrong, int(task.fittable.sum()) - wrong) >= FEWEST


def in_domain(task: Task, others: Sequence[Task]) -> CrossFitted:
    """Score a task by detectors moved towards its other folds, NaN where unscored.

    They start from one that was fitted to the other tasks, where there are any.
    """
    prior = fit(examples(others)) if others else None
    fitter = fit if prior is None else lambda part: adapt(prior, part)
    return cross_fit(examples([task]), fitter).placed(task.fittable)


def out_of_domain(task: Task, others: Sequence[Task]) -> Floats:
    """Score a task by a detector that was fitted to the other tasks, shape (n,)."""
    odds = fit(examples(others)).log_odds(examples([task]).values)
    return placed(odds, task.fittable)


def all_together(tasks: Sequence[Task]) -> Floats:
    """Score all tasks by one detector for all of them, fitted to the other folds, shape (n,)."""
    scores = cross_fit(examples(tasks), fit, divisions=1).once
    return placed(scores, np.concatenate([task.fittable for task in tasks]))


def p_wrong(risk: Floats, tasks: Sequence[Task]) -> Floats:
    """Calibrate scores of these tasks' answers by Platt's method fitted to the other folds.

    risk: shape (n,), the tasks one after the other. NaN where there is no score, and where it is
    outside the range of the other folds.
    """
    wrong = np.concatenate([task.wrong for task in tasks])
    names = np.concatenate([np.full(len(task.answers), task.name) for task in tasks])
    questions = np.concatenate([task.questions for task in tasks])
    scored = np.isfinite(risk)
    kept, labels = risk[scored], wrong[scored]
    folds = folds_of(Examples(("risk",), kept[:, None], labels, names[scored], questions[scored]))
    out = np.full(len(kept), np.nan)
    for fold in np.unique(folds):
        held = folds == fold
        calibration = fit_calibration(kept[~held], labels[~held])
        found = [calibration.p_wrong(score) for score in kept[held].tolist()]
        out[held] = [np.nan if p is None else p for p in found]
    return placed(out, scored)


def placed(values: Floats, where: npt.NDArray[np.bool_]) -> Floats:
    """Put values to the answers that they are of, NaN to the others, shape (n,)."""
    out = np.full(len(where), np.nan)
    out[where] = values
    return out
