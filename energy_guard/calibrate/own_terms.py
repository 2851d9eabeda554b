"""What a model's own answers to the quiz add to the detector that several models share.

Two things differ so much from model to model that others cannot tell them: how well it chooses
labels for a text, and what its own yes is worth when it is asked whether its passages say what it
answered. Small models say yes to anything, and of them nothing is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from energy_guard.calibrate.detector import logistic
from energy_guard.energy import Bools, Floats
from energy_guard.features import features
from energy_guard.fitted import LIMIT, FittedDetector, Term
from energy_guard.questions.answered import Answered
from energy_guard.score import Score
from energy_guard.support_features import BY_ASKING

LABELS: Final = "asked.choice_about_text"
CONFIRMED, ASKED = BY_ASKING

_SPREAD: Final = 1.0
"""How far a model's own level of a kind may be expected to lie from that of others, and what one
standard deviation of its yes is worth, as a standard deviation in log-odds: the penalty."""

_WORTH: Final = 6.63
"""By how much twice the log-likelihood has to grow with the model's yes: chance gives that in one
of a hundred models (chi-squared, one degree of freedom). Below that nobody pays for asking."""


def with_own_terms(
    detector: FittedDetector, answers: Sequence[tuple[Answered, Score]]
) -> FittedDetector:
    """Return the detector with what this model's answers tell of it.

    Args:
        detector: Of several models.
        answers: To the quiz, each with its score by the detector.

    Returns:
        The detector with a level of this model for choices about a text, and, if that tells right
        from wrong, with its yes or no about its passages. As it is if its scores tell nothing.

    """
    known = _Known.of(answers)
    best = known.fitted(*known.labels)
    if known.replies:
        mute = known.fitted(*known.labels, *known.replies[:1])
        told = known.fitted(*known.labels, *known.replies)
        if told.worth - mute.worth > _WORTH and told.weights[-1] < 0:
            best = told
    if best.slope <= 0:
        return detector
    weights = (best.weights / best.slope).tolist()
    if known.labels:
        detector = _moved(detector, LABELS, weights.pop(0))
    if weights:
        asked, yes = weights
        far = abs(known.middle) + LIMIT * known.deviation
        detector = _moved(detector, ASKED, asked - yes * known.middle / known.deviation)
        detector = _moved(detector, CONFIRMED, yes / known.deviation, scale=far / LIMIT)
    return detector


@dataclass(frozen=True)
class _Fit:
    """slope: of the score. weights: of the other columns. worth: twice the log-likelihood."""

    slope: float
    weights: Floats
    worth: float


@dataclass(frozen=True)
class _Known:
    """What is known of the answers, shape (n,) each.

    labels: which are choices about a text; none if there are none. replies: where the model was
    asked, and its yes in standard deviations; none if it was not asked of all with passages.
    middle, deviation: of the log-odds of yes.
    """

    scores: Floats
    wrong: Bools
    labels: tuple[Floats, ...]
    replies: tuple[Floats, ...]
    middle: float
    deviation: float

    @classmethod
    def of(cls, answers: Sequence[tuple[Answered, Score]]) -> _Known:
        """Read the features of all of them."""
        names = (LABELS, ASKED, CONFIRMED)
        rows = [features(a.trace, score.span, names, a.asked) for a, score in answers]
        labels, asked, confirmed = np.array(rows).reshape(-1, len(names)).T
        replies: tuple[Floats, ...] = ()
        middle, deviation = 0.0, 1.0
        if asked.any() and np.isfinite(confirmed).all() and np.ptp(confirmed[asked > 0]) > 0:
            middle = float(confirmed[asked > 0].mean())
            deviation = float(confirmed[asked > 0].std())
            replies = (asked, asked * (confirmed - middle) / deviation)
        scores = np.array([score.value for _, score in answers])
        wrong = np.array([a.wrong for a, _ in answers], dtype=bool)
        about_text = (labels,) if labels.any() else ()
        return cls(scores, wrong, about_text, replies, middle, deviation)

    def fitted(self, *columns: Floats) -> _Fit:
        """Fit the log-odds of being wrong to the score, a level and these columns."""
        n = len(self.scores)
        table = np.column_stack([self.scores, np.ones(n), *columns])
        penalty = np.array([0.0, 0.0, *(1 / (n * _SPREAD**2) for _ in columns)])
        point = logistic(
            table, self.wrong, np.full(n, 1 / n), penalty, first=np.zeros(len(penalty))
        )
        margin = np.where(self.wrong, 1.0, -1.0) * (table @ point)
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
