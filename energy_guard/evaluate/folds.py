"""Scores of answers by detectors that have not seen them, and which of them may be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from energy_guard.energy import Floats
from energy_guard.evaluate.fit import FOLDS, Examples, Flags, folds_of
from energy_guard.fitted import FittedDetector

Folds = npt.NDArray[np.int64]

DIVISIONS: Final = 5
"""Ways to divide the answers into folds: by one alone a mean AUROC moves by up to 2 points."""


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Scores of the same answers, once for each way to divide them into folds.

    scores: growing with risk, NaN where there is none. folds: from 0. Both of shape (divisions, n).

    Only answers of the same fold are compared. They were scored by the same detector, and none of
    them helped to fit it; between folds each of two helped to fit the detector of the other, and
    where there is nothing to learn, wrong answers then come below right ones (AUROC 42 to 46).
    """

    scores: Floats
    folds: Folds

    def __getitem__(self, kept: Flags) -> CrossFitted:
        """Return those of some answers."""
        return CrossFitted(self.scores[:, kept], self.folds[:, kept])

    @property
    def once(self) -> Floats:
        """The scores of the first division, shape (n,)."""
        return np.asarray(self.scores[0])

    def placed(self, where: Flags) -> CrossFitted:
        """Return them as those of the marked ones of more answers, the others without a score."""
        scores = np.full((len(self.scores), len(where)), np.nan)
        folds = np.zeros(scores.shape, dtype=np.int64)
        scores[:, where], folds[:, where] = self.scores, self.folds
        return CrossFitted(scores, folds)

    def won(self, wrong: Flags) -> tuple[Floats, Floats]:
        """Return in how many divisions each wrong answer is above each right one, ties as ½, and
        in how many they were compared; both of shape (wrong, right).
        """
        won, compared = np.zeros((2, int(wrong.sum()), int((~wrong).sum())))
        for scores, folds in zip(self.scores, self.folds, strict=True):
            same = folds[wrong][:, None] == folds[~wrong]
            won += same * above(scores, wrong)
            compared += same
        return won, compared


def above(scores: Floats, wrong: Flags) -> Floats:
    """Return 1 where a wrong answer is above a right one, ½ where equal: shape (wrong, right)."""
    bad, good = scores[wrong][:, None], scores[~wrong]
    return np.asarray((bad > good) + 0.5 * (bad == good))


def cross_fit(
    examples: Examples,
    fitter: Callable[[Examples], FittedDetector],
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
