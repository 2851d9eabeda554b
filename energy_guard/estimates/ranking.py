"""How well a risk ranks wrong answers above right ones, and what abstaining buys.

Ranking metrics (`auroc`, `aurc`) need a finite risk for every row: leave unscored rows out, and
say how many. Where an answer may be withheld (`risk_coverage`, `coverage_at_risk`) a row without
a risk, NaN, is one that is never answered. Rows with the same risk are drawn together, so no
order among them counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from energy_guard.energy import Bools, Floats, Ints
from energy_guard.errors import InputError
from energy_guard.estimates.bootstrap import Sample, Statistic, interval
from energy_guard.estimates.estimate import Measured, NotDefined, clopper_pearson

OF_EACH: Final = 30
"""With fewer answers of a class the bootstrap's intervals are too narrow."""


def auroc(risk: Floats, wrong: Bools, *, confidence: float = 0.95) -> Measured:
    """Return the chance that a wrong answer has a higher risk than a right one; ties count half.

    The interval is bootstrapped within each class. NotDefined for one class only.

    >>> auroc(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, False, True, True])).value
    1.0
    """
    lacking = _one_class(risk, wrong)
    if lacking is not None:
        return lacking
    return interval(
        Sample(_auroc(risk, wrong), len(risk), wrong), confidence=confidence, note=_few(wrong)
    )


def aurc(risk: Floats, wrong: Bools, *, confidence: float = 0.95) -> Measured:
    """Return the mean risk over all coverages, the least risky answered first; lower is better.

    1/n Σ_i (wrong among the first i)/i (Geifman & El-Yaniv 2017). Where risks are equal, the mean
    over their orders.
    """
    return _ranking(_aurc(risk, wrong), risk, wrong, confidence)


def aurc_excess(risk: Floats, wrong: Bools, *, confidence: float = 0.95) -> Measured:
    """Return how much higher the AURC is than that of an oracle with as many wrong answers."""
    oracle = _aurc(wrong.astype(np.float64), wrong)
    return _ranking(_difference(_aurc(risk, wrong), oracle), risk, wrong, confidence)


@dataclass(frozen=True)
class RiskCoverage:
    """The curve of risk against coverage, one point for each distinct risk, lowest first.

    threshold: the point's answers have at most this risk. coverage: answered of all rows, those
    without a risk included. risk: wrong of answered; low, high: its pointwise Clopper-Pearson
    interval.
    """

    threshold: Floats
    answered: Ints
    coverage: Floats
    risk: Floats
    low: Floats
    high: Floats


def risk_coverage(risk: Floats, wrong: Bools, *, confidence: float = 0.95) -> RiskCoverage:
    """Return the whole curve; its points are empty if no row has a risk."""
    _check(risk, wrong, gaps=True)
    scored = np.isfinite(risk)
    sums = _Sums(risk[scored])
    once = np.ones((1, int(scored.sum())), dtype=np.int64)
    answered = np.cumsum(sums(once), axis=1)[0]
    errors = np.cumsum(sums(once * wrong[scored]), axis=1)[0]
    low, high = clopper_pearson(errors, answered, confidence=confidence)
    coverage = answered / len(risk)
    return RiskCoverage(sums.values, answered, coverage, errors / answered, low, high)


def coverage_at_risk(
    risk: Floats, wrong: Bools, *, max_risk: float, confidence: float = 0.95
) -> Measured:
    """Return the largest coverage at which at most a share max_risk of the answered is wrong.

    Chosen on the rows that it is measured on, so it flatters; a certificate does not.
    """
    _check(risk, wrong, gaps=True)
    if not len(risk):
        return NotDefined("there are no rows", 0)
    return interval(
        Sample(coverage_statistic(risk, wrong, max_risk), len(risk)), confidence=confidence
    )


def coverage_statistic(risk: Floats, wrong: Bools, max_risk: float) -> Statistic:
    """Return the largest coverage at which at most a share max_risk of the answered is wrong.

    Args:
        risk: Of each row, NaN for one that is never answered; shape (n,).
        wrong: Whether each row is, shape (n,).
        max_risk: The share of wrong ones that is allowed.

    """
    scored = np.isfinite(risk)
    sums = _Sums(risk[scored])

    def statistic(counts: Ints) -> Floats:
        drawn = counts[:, scored]
        answered = np.cumsum(sums(drawn), axis=1)
        errors = np.cumsum(sums(drawn * wrong[scored]), axis=1)
        held = np.where(errors <= max_risk * answered, answered, 0)
        return np.asarray(held.max(axis=1, initial=0) / counts.sum(axis=1), dtype=np.float64)

    return statistic


class _Sums:
    """Sums counts of rows over groups with the same risk, in ascending order of risk."""

    def __init__(self, risk: Floats) -> None:
        self._order = np.argsort(risk, kind="stable")
        ascending = risk[self._order]
        first = np.ones(len(risk), dtype=bool)
        first[1:] = ascending[1:] != ascending[:-1]
        self._starts = np.flatnonzero(first)
        self.values = ascending[self._starts]

    def __call__(self, counts: Ints) -> Ints:
        ordered = counts[:, self._order]
        if len(self._starts) == len(self._order):
            return ordered
        sums: Ints = np.add.reduceat(ordered, self._starts, axis=1)
        return sums


def _auroc(risk: Floats, wrong: Bools) -> Statistic:
    sums = _Sums(risk)

    def statistic(counts: Ints) -> Floats:
        bad, good = sums(counts * wrong), sums(counts * ~wrong)
        below = np.cumsum(good, axis=1) - good / 2
        pairs = bad.sum(axis=1) * good.sum(axis=1)
        return np.asarray((bad * below).sum(axis=1) / pairs, dtype=np.float64)

    return statistic


def _aurc(risk: Floats, wrong: Bools) -> Statistic:
    """Within a group of g equal risks with a share q wrong, after i answers with e wrong ones:

    Σ_{j=1..g} (e + q j)/(i + j) = q g + (e − q i)(H(i+g) − H(i)), H being harmonic numbers.
    """
    sums = _Sums(risk)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, len(risk) + 1))])

    def statistic(counts: Ints) -> Floats:
        size, errors = sums(counts), sums(counts * wrong)
        after, errors_after = np.cumsum(size, axis=1), np.cumsum(errors, axis=1)
        before, errors_before = after - size, errors_after - errors
        share = errors / np.maximum(size, 1)
        steps = harmonic[after] - harmonic[before]
        area = share * size + (errors_before - share * before) * steps
        return np.asarray(area.sum(axis=1) / counts.sum(axis=1), dtype=np.float64)

    return statistic


def _difference(first: Statistic, second: Statistic) -> Statistic:
    return lambda counts: first(counts) - second(counts)


def _ranking(statistic: Statistic, risk: Floats, wrong: Bools, confidence: float) -> Measured:
    _check(risk, wrong)
    if not len(risk):
        return NotDefined("there are no rows", 0)
    return interval(Sample(statistic, len(risk)), confidence=confidence)


def _one_class(risk: Floats, wrong: Bools) -> NotDefined | None:
    _check(risk, wrong)
    n, bad = len(wrong), int(wrong.sum())
    if 0 < bad < n:
        return None
    what = "there are no answers" if not n else f"all {n} answers are {'wrong' if bad else 'right'}"
    return NotDefined(f"{what}: nothing to tell apart", n)


def _few(wrong: Bools) -> str:
    fewer = min(int(wrong.sum()), int((~wrong).sum()))
    if fewer >= OF_EACH:
        return ""
    return f"only {fewer} answers of the rarer class: the interval is too narrow below {OF_EACH}"


def _check(risk: Floats, wrong: Bools, gaps: bool = False) -> None:
    if risk.ndim != 1 or risk.shape != wrong.shape or wrong.dtype != np.bool_:
        raise InputError(f"risk has shape {risk.shape}, and wrong {wrong.shape} of {wrong.dtype}")
    bad = np.isinf(risk) if gaps else ~np.isfinite(risk)
    if bad.any():
        raise InputError(
            f"{bad.sum()} of {len(risk)} risks are {'infinite' if gaps else 'missing or infinite'}",
            "Leave unscored rows out of a ranking, and say how many there were.",
        )
