"""How good P(wrong) is as a probability, on rows that had no part in fitting it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from energy_guard.energy import Bools, Floats, Ints
from energy_guard.errors import InputError
from energy_guard.estimates.bootstrap import Sample, interval
from energy_guard.estimates.estimate import Measured, NotDefined, proportion

BINS: Final = 10

ROWS: Final = 2000
"""With fewer, the noise within bins is taken for miscalibration: at 300 rows a constant base rate
looks better calibrated than a perfect predictor."""


def brier_skill(
    p_wrong: Floats,
    wrong: Bools,
    *,
    tasks: npt.NDArray[np.generic] | None = None,
    confidence: float = 0.95,
) -> Measured:
    """Return 1 − Brier / Brier of the base rate: 1 is perfect, 0 no better than the base rate.

    The base rate is that of these very rows, which is the hardest to beat. tasks: the task of each
    row, which resamples keep as large as it is. NotDefined for one class only.
    """
    _check(p_wrong, wrong)
    if wrong.all() or not wrong.any():
        return NotDefined("one class only: the base rate is perfect", len(wrong))
    squares = (p_wrong - wrong) ** 2

    def skill(counts: Ints) -> Floats:
        base = _mean(counts, wrong.astype(np.float64))
        spread = base * (1 - base)
        lost = _mean(counts, squares)
        return np.where(spread > 0, 1 - lost / np.where(spread > 0, spread, 1), np.nan)

    return interval(Sample(skill, len(wrong), tasks), confidence=confidence)


def calibration_error(p_wrong: Floats, wrong: Bools, *, confidence: float = 0.95) -> Measured:
    """Return the mean distance of P(wrong) from the share of wrong answers, in equal-mass bins.

    Weighted by the rows of each of ten bins; equal probabilities share a bin. NotDefined below
    2,000 rows. Noise only ever adds to it, and twice to resamples: value and interval lean
    upwards, and the note says what a perfect P(wrong) would show on as many rows.
    """
    _check(p_wrong, wrong)
    n = len(wrong)
    if n < ROWS:
        return NotDefined(f"a calibration error needs {ROWS} rows, and these are {n}", n)
    member = _bins(p_wrong)[:, None] == np.arange(BINS)

    def error(counts: Ints, outcome: Bools) -> Floats:
        gaps = (counts * (p_wrong - outcome)) @ member
        return np.asarray(np.abs(gaps).sum(axis=1) / n, dtype=np.float64)

    random = np.random.default_rng(0)
    perfect = error(np.ones((200, n), dtype=np.int64), random.random((200, n)) < p_wrong)
    note = f"a perfect P(wrong) would show {perfect.mean():.3f} on as many rows"
    return interval(
        Sample(lambda counts: error(counts, wrong), n), confidence=confidence, note=note
    )


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows with similar P(wrong): their mean of it, and the share of them that is wrong."""

    p_wrong: float
    wrong: Measured


def reliability(
    p_wrong: Floats, wrong: Bools, *, confidence: float = 0.95
) -> tuple[ReliabilityBin, ...]:
    """Return up to ten equal-mass bins, lowest P(wrong) first; equal probabilities share one."""
    _check(p_wrong, wrong)
    bins = _bins(p_wrong)
    return tuple(
        ReliabilityBin(
            float(p_wrong[bins == number].mean()),
            proportion(
                int(wrong[bins == number].sum()), int((bins == number).sum()), confidence=confidence
            ),
        )
        for number in np.unique(bins)
    )


def _bins(p_wrong: Floats) -> Ints:
    """The bin of each row, by its rank; equal values have one rank, the middle of theirs."""
    _, group, sizes = np.unique(p_wrong, return_inverse=True, return_counts=True)
    middle = np.cumsum(sizes) - sizes / 2
    return np.asarray(BINS * middle[group] // max(len(p_wrong), 1), dtype=np.int64)


def _mean(counts: Ints, values: Floats) -> Floats:
    return np.asarray(counts @ values / counts.sum(axis=1), dtype=np.float64)


def _check(p_wrong: Floats, wrong: Bools) -> None:
    if p_wrong.ndim != 1 or p_wrong.shape != wrong.shape or wrong.dtype != np.bool_:
        raise InputError(
            f"P(wrong) has shape {p_wrong.shape}, and wrong {wrong.shape} of {wrong.dtype}"
        )
    if not np.all((p_wrong >= 0) & (p_wrong <= 1)):
        raise InputError(
            "a P(wrong) is missing or not between 0 and 1",
            "Leave rows without a probability out, and say how many there were.",
        )
