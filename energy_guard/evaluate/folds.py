"""Scores of answers by detectors that have not seen them, and which of them may be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from energy_guard.calibrate.detector import FOLDS, Examples, adapt, fit, folds_of
from energy_guard.calibrate.probability import fit_calibration
from energy_guard.energy import Bools, Floats, Ints
from energy_guard.evaluate.task_arrays import Task, examples
from energy_guard.fitted import FittedDetector

DIVISIONS: Final = 5
"""Ways to divide the answers into folds: by one alone a mean AUROC moves by up to 2 points."""


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Scores of the same answers, once for each way to divide them into folds.

    scores: growing with risk, NaN if there is none. folds: from 0. Both of shape (divisions, n).

    Only answers of the same fold are compared. They were scored by the same detector, and none of
    them helped to fit it; between folds each of two helped to fit the detector of the other, and
    where there is nothing to learn, wrong answers then come below right ones (AUROC 42 to 46).
    """

    scores: Floats
    folds: Ints

    def __getitem__(self, kept: Bools) -> CrossFitted:
        """Return those of some answers."""
        return CrossFitted(self.scores[:, kept], self.folds[:, kept])

    @property
    def once(self) -> Floats:
        """The scores of the first division, shape (n,)."""
        return np.asarray(self.scores[0])

    def placed(self, where: Bools) -> CrossFitted:
        """Return them as those of the marked ones of more answers, the others without a score."""
        scores = np.full((len(self.scores), len(where)), np.nan)
        folds = np.zeros(scores.shape, dtype=np.int64)
        scores[:, where], folds[:, where] = self.scores, self.folds
        return CrossFitted(scores, folds)

    def won(self, wrong: Bools) -> tuple[Floats, Floats]:
        """Return in how many divisions each wrong answer is above each right one, ties as ½, and
        in how many they were compared; both of shape (wrong, right).
        """
        won, compared = np.zeros((2, int(wrong.sum()), int((~wrong).sum())))
        for scores, folds in zip(self.scores, self.folds, strict=True):
            same = folds[wrong][:, None] == folds[~wrong]
            won += same * above(scores, wrong)
            compared += same
        return won, compared


def above(scores: Floats, wrong: Bools) -> Floats:
    """Return 1 where a wrong answer is above a right one, ½ where equal: shape (wrong, right)."""
    bad, good = scores[wrong][:, None], scores[~wrong]
    return np.asarray((bad > good) + 0.5 * (bad == good))


def cross_fit(
    examples: Examples,
    fitter: Callable[[Examples], FittedDetector],
    *,
    divisions: int = DIVISIONS,
) -> CrossFitted:
    """Score every answer by detectors fitted without its fold, once for each division.

    Of several detectors one may have been held back a hundred times more than the next. So that
    the scores of a division can be taken for those of one detector, they are in deviations from
    the median of the answers that their detector was fitted to.
    """
    folds = np.array([folds_of(examples, seed) for seed in range(divisions)])
    scores = np.full(folds.shape, np.nan)
    for division, fold in np.ndindex(divisions, FOLDS):
        held = folds[division] == fold
        detector = fitter(examples.part(~held))
        seen = detector.log_odds(examples.values[~held])
        found = detector.log_odds(examples.values[held]) - np.median(seen)
        scores[division, held] = found / (seen.std() or 1.0)
    return CrossFitted(scores, folds)


FEWEST: Final = 10
"""Answers of the rarer class below which nothing is fitted: two for each of five folds."""


def can_be_fitted(task: Task) -> bool:
    """Whether a detector can be fitted to a task's answers."""
    wrong = int(task.wrong[task.fittable].sum())
    return min(wrong, int(task.fittable.sum()) - wrong) >= FEWEST


def in_domain(task: Task, others: Sequence[Task]) -> CrossFitted:
    """Score a task by detectors moved towards its other folds, NaN if unscored.

    They start from one that was fitted to the other tasks, if there are any.
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

    risk: shape (n,), the tasks one after the other. NaN if there is no score, and if it is
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


def placed(values: Floats, where: Bools) -> Floats:
    """Put values to the answers that they are of, NaN to the others, shape (n,)."""
    out = np.full(len(where), np.nan)
    out[where] = values
    return out
