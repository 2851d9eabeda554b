"""How far two people, or a person and a grader, say the same about the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from energy_guard.estimates.estimate import Estimate, Measured, NotDefined
from energy_guard.extras import needs_extra


@dataclass(frozen=True, slots=True)
class Agreement:
    """The share of answers about which both say the same, and Cohen's kappa.

    kappa: 1 if they always agree, 0 if not more often than by chance; or why there is none.
    """

    share: Measured
    kappa: float | NotDefined


def agreement(first: Sequence[str], second: Sequence[str]) -> Agreement:
    """Compare what two say about the same answers.

    Args:
        first: What one says, of each answer.
        second: What the other says, in the same order.

    Raises:
        MissingExtraError: scikit-learn or scipy is not installed.

    """
    same = sum(a == b for a, b in zip(first, second, strict=True))
    share = wilson(same, len(first))
    if len({*first, *second}) < 2:
        return Agreement(share, NotDefined("both say the same of every answer", len(first)))
    with needs_extra("eval"):
        from sklearn.metrics import cohen_kappa_score
    return Agreement(share, float(cohen_kappa_score(first, second)))


def wilson(count: int, n: int) -> Measured:
    """Return count / n with Wilson's interval, which is narrower than the exact one.

    >>> wilson(90, 100).low > 0.82
    True

    Raises:
        MissingExtraError: scipy is not installed.

    """
    if n == 0:
        return NotDefined("there are no answers to count", 0)
    with needs_extra("eval"):
        from scipy.stats import binomtest
    interval = binomtest(count, n).proportion_ci(method="wilson")
    return Estimate(count / n, float(interval.low), float(interval.high), n)
