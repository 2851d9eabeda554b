"""A number with its interval, or the reason why there is none.

No estimate of this package stands alone: it says from how many rows it comes and how far off it
may be, and what cannot be estimated is `NotDefined`, never 0, 0.5 or NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energy_guard.energy import Floats, Ints
from energy_guard.extras import needs_extra


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number from n rows; low to high is its interval at `confidence`, from both sides.

    note: what to know before believing it.
    """

    value: float
    low: float
    high: float
    n: int
    confidence: float = 0.95
    note: str = ""


@dataclass(frozen=True, slots=True)
class NotDefined:
    """There is no such number for these n rows, and why."""

    reason: str
    n: int


Measured = Estimate | NotDefined


def proportion(count: int, n: int, *, confidence: float = 0.95) -> Measured:
    """Return count / n with its Clopper-Pearson interval.

    >>> proportion(0, 20).high < 0.17
    True
    """
    if n == 0:
        return NotDefined("there are no rows to count in", 0)
    low, high = clopper_pearson(np.array([count]), np.array([n]), confidence=confidence)
    return Estimate(count / n, float(low[0]), float(high[0]), n, confidence)


def clopper_pearson(counts: Ints, n: Ints, *, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Return the exact binomial interval's ends for each count of n (n at least 1)."""
    # scipy's binomtest(...).proportion_ci gives the same ends (tests hold both together), one
    # pair at a time and by root search: a risk-coverage curve has thousands. `scipy.stats.beta.ppf`
    # is this very function, with checks around it that take forty times as long.
    with needs_extra("eval"):
        from scipy.special import betaincinv
    tail = (1 - confidence) / 2
    some, rest = np.maximum(counts, 1), np.maximum(n - counts, 1)  # at the ends: 0 and 1, below
    low = np.where(counts > 0, betaincinv(some, n - some + 1, tail), 0.0)
    high = np.where(counts < n, betaincinv(n - rest + 1, rest, 1 - tail), 1.0)
    return low, high
