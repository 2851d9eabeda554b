"""What a model's own answers to the quiz add to the detector that several models share.

What its own yes is worth, when it is asked whether its passages say what it answered, differs so
much from model to model that others cannot tell it. Small models say yes to anything, and under
their profiles nothing is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from energy_guard.calibrate.detector import logistic
from energy_guard.energy import Bools, Floats
from energy_guard.fitted import LIMIT, FittedDetector, Term
from energy_guard.support_features import BY_ASKING

CONFIRMED, ASKED = BY_ASKING

_SPREAD: Final = 1.0
"""What one standard deviation of a model's yes may be expected to be worth, in log-odds: the
penalty."""

_WORTH: Final = 6.63
"""By how much twice the log-likelihood has to grow with the model's yes: chance gives that in one
of a hundred models (chi-squared, one degree of freedom). Below that nobody pays for asking."""


def with_own_yes(
    detector: FittedDetector, scores: Floats, wrong: Bools, values: Floats, *levels: Floats
) -> FittedDetector:
    """Return the detector with the model's yes or no about its passages, if that is worth asking.

    An answer after which the model could not be asked is scored as if it had said what it says on
    average.

    Args:
        detector: Of several models.
        scores: The detector's of the model's answers, to the quiz above all, shape (n,).
        wrong: Whether each answer is, shape (n,).
        values: The features `BY_ASKING`, shape (n, 2); NaN if the model should have been asked.
        levels: 1 for answers of another kind than the quiz's, which have a level of their own,
            shape (n,) each.

    Returns:
        The detector with two terms more; as it is if the yes tells nothing beside the score.

    """
    confirmed, asked = values.T
    if not asked.any() or not np.isfinite(values).all() or not np.ptp(confirmed[asked > 0]) > 0:
        return detector
    middle, deviation = float(confirmed[asked > 0].mean()), float(confirmed[asked > 0].std())
    mute = _fit(scores, wrong, *levels, asked)
    told = _fit(scores, wrong, *levels, asked, asked * (confirmed - middle) / deviation)
    if told.worth - mute.worth <= _WORTH or told.weights[-1] >= 0 or told.slope <= 0:
        return detector
    level, yes = (told.weights[-2:] / told.slope).tolist()
    scale = (abs(middle) + LIMIT * deviation) / LIMIT  # so that nothing within is cut off
    terms = (
        Term(
            feature=CONFIRMED,
            centre=0,
            scale=scale,
            weight=yes / deviation * scale,
            if_unknown=middle,
        ),
        Term(feature=ASKED, centre=0, scale=1, weight=level - yes * middle / deviation),
    )
    return detector.model_copy(update={"terms": (*detector.terms, *terms)})


@dataclass(frozen=True)
class _Fit:
    """slope: of the score. weights: of the other columns. worth: twice the log-likelihood."""

    slope: float
    weights: Floats
    worth: float


def _fit(scores: Floats, wrong: Bools, *columns: Floats) -> _Fit:
    """Fit the log-odds of being wrong to the score, a level and these columns."""
    n = len(scores)
    table = np.column_stack([scores, np.ones(n), *columns])
    penalty = np.array([0.0, 0.0, *(1 / (n * _SPREAD**2) for _ in columns)])
    point = logistic(table, wrong, np.full(n, 1 / n), penalty, first=np.zeros(len(penalty)))
    margin = np.where(wrong, 1.0, -1.0) * (table @ point)
    return _Fit(float(point[0]), point[2:], -2 * float(np.logaddexp(0, -margin).sum()))
