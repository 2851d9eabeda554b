"""What a model's own answers to the quiz add to the detector that several models share.

Two things differ so much from model to model that others cannot tell them: how well it chooses
labels for a text, and what its own yes is worth when it is asked whether its passages say what it
answered. Small models say yes to anything, and of them nothing is asked.
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
LABELS: Final = "asked.choice_about_text"
OWN: Final = (LABELS, ASKED, CONFIRMED)
"""The features of which a model has weights of its own."""

_SPREAD: Final = 1.0
"""How far a model's own level of a kind may be expected to lie from that of others, and what one
standard deviation of its yes is worth, as a standard deviation in log-odds: the penalty."""

_WORTH: Final = 6.63
"""By how much twice the log-likelihood has to grow with the model's yes: chance gives that in one
of a hundred models (chi-squared, one degree of freedom). Below that nobody pays for asking."""


def with_own_terms(
    detector: FittedDetector, scores: Floats, wrong: Bools, values: Floats
) -> FittedDetector:
    """Return the detector with what a model's answers tell of this model alone.

    Args:
        detector: Of several models.
        scores: The detector's of the model's answers to the quiz, shape (n,).
        wrong: Whether each answer is, shape (n,).
        values: The features `OWN`, shape (n, 3); NaN if the model should have been asked.

    Returns:
        The detector with a level of this model for choices about a text, and, if that tells right
        from wrong, with its yes or no about its passages. As it is if its scores tell nothing.

    """
    labels, asked, confirmed = values.T
    kinds = [labels] if labels.any() else []
    fit = _fit(scores, wrong, kinds)
    middle, deviation, replied = 0.0, 1.0, False
    if asked.any() and np.isfinite(confirmed).all() and np.ptp(confirmed[asked > 0]) > 0:
        middle, deviation = float(confirmed[asked > 0].mean()), float(confirmed[asked > 0].std())
        mute = _fit(scores, wrong, [*kinds, asked])
        told = _fit(scores, wrong, [*kinds, asked, asked * (confirmed - middle) / deviation])
        replied = told.worth - mute.worth > _WORTH and bool(told.weights[-1] < 0)
        fit = told if replied else fit
    if fit.slope <= 0:
        return detector
    weights = (fit.weights / fit.slope).tolist()
    if kinds:
        detector = _moved(detector, LABELS, weights[0])
    if replied:
        level, yes = weights[-2:]
        far = abs(middle) + LIMIT * deviation
        detector = _moved(detector, ASKED, level - yes * middle / deviation)
        detector = _moved(detector, CONFIRMED, yes / deviation, scale=far / LIMIT)
    return detector


@dataclass(frozen=True)
class _Fit:
    """slope: of the score. weights: of the other columns. worth: twice the log-likelihood."""

    slope: float
    weights: Floats
    worth: float


def _fit(scores: Floats, wrong: Bools, columns: list[Floats]) -> _Fit:
    """Fit the log-odds of being wrong to the score, a level and these columns."""
    n = len(scores)
    table = np.column_stack([scores, np.ones(n), *columns])
    penalty = np.array([0.0, 0.0, *(1 / (n * _SPREAD**2) for _ in columns)])
    point = logistic(table, wrong, np.full(n, 1 / n), penalty, first=np.zeros(len(penalty)))
    margin = np.where(wrong, 1.0, -1.0) * (table @ point)
    return _Fit(float(point[0]), point[2:], -2 * float(np.logaddexp(0, -margin).sum()))


def _moved(
    detector: FittedDetector, feature: str, weight: float, *, scale: float = 1.0
) -> FittedDetector:
    """The detector with so much more a unit of a feature that is 0 if it does not apply.

    scale: a quarter of how far the feature counts.
    """
    own = Term(feature=feature, centre=0, scale=scale, weight=weight * scale)
    terms, intercept = list(detector.terms), detector.intercept
    for at, term in enumerate(terms):
        if term.feature == feature:
            ends = np.clip((np.array([0, 1]) - term.centre) / term.scale, -LIMIT, LIMIT)
            without, once = (term.weight * ends).tolist()
            terms[at] = own.model_copy(update={"weight": own.weight + (once - without) * scale})
            intercept += without
            break
    else:
        terms.append(own)
    return detector.model_copy(update={"terms": tuple(terms), "intercept": intercept})
