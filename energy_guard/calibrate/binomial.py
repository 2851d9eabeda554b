"""Exact binomial tests of 'the risk is above α', many at once, and what they need."""

from __future__ import annotations

import math

import numpy as np

from energy_guard.energy import Bools, Floats, Ints
from energy_guard.errors import InputError
from energy_guard.extras import needs_extra


def p_values(wrong: Ints, answered: Ints, *, max_risk: float) -> Floats:
    """Return P(Bin(answered, max_risk) ≤ wrong) for each: small where the risk is lower.

    Without an answer it is 1: nothing speaks against a high risk.
    """
    with needs_extra("eval"):
        from scipy.stats import binom
    return np.where(answered > 0, binom.cdf(wrong, answered, max_risk), 1.0)


def holm(p: Floats, delta: float) -> Bools:
    """Return which hypotheses Holm's procedure rejects.

    The chance that any true one is among them is at most delta, however they depend on each
    other (Holm 1979).
    """
    order = np.argsort(p, kind="stable")
    steps = p[order] <= delta / np.arange(len(p), 0, -1)
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order] = np.logical_and.accumulate(steps)
    return rejected


def answers_needed(error_rate: float, max_risk: float, *, level: float) -> int | None:
    """Return how many answers with this error rate bring the p-value down to `level`.

    None if no number does: the error rate is not below max_risk. Without a single error this
    is ln(1/level) / −ln(1 − max_risk), rounded up. Between whole numbers of errors the binomial
    distribution is continued by the incomplete beta function.

    >>> [answers_needed(0, risk, level=0.05 / 10) for risk in (0.10, 0.05, 0.01)]
    [51, 104, 528]
    """
    if not (0 < max_risk < 1 and 0 < level < 1):
        raise InputError(f"max_risk {max_risk} and level {level} must lie between 0 and 1")
    if error_rate >= max_risk:
        return None
    with needs_extra("eval"):
        from scipy.special import betainc

    def enough(n: int) -> bool:
        wrong = error_rate * n
        return float(betainc(n - wrong, wrong + 1, 1 - max_risk)) <= level

    high = math.ceil(math.log(level) / math.log1p(-max_risk))
    low = 0
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def chance_to_certify(
    wrong: Ints, answered: Ints, *, later: Ints, max_risk: float, level: float
) -> Floats:
    """Return how likely `later` further answers have a p-value of at most `level`, for each.

    Judged by earlier answers, `wrong` of `answered`: the error rate has the distribution that
    Jeffreys' prior and these give it.
    """
    with needs_extra("eval"):
        from scipy.stats import betabinom, binom
    most = binom.ppf(level, later, max_risk)
    most = np.where(binom.cdf(most, later, max_risk) <= level, most, most - 1)
    chance: Floats = betabinom.cdf(most, later, wrong + 0.5, answered - wrong + 0.5)
    return chance
