"""Intervals for any statistic of rows: the percentile bootstrap (Efron 1979).

A statistic takes how often each row was drawn, of shape (draws, rows), and returns one number per
draw, NaN if it is not defined. So one implementation serves the value itself (each row once)
and all resamples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from energy_guard.energy import Floats, Ints
from energy_guard.estimates.estimate import Estimate, Measured, NotDefined

Statistic = Callable[[Ints], Floats]

DRAWS: Final = 2000

_CELLS: Final = 2_000_000
"""Numbers in one block of resamples: enough to be quick, and little memory."""


@dataclass(frozen=True)
class Sample:
    """A statistic of n rows that are drawn again within strata (an array of labels, or None).

    Strata hold what is fixed by design: the task, or the number of answers of each class.
    """

    statistic: Statistic
    n: int
    strata: npt.NDArray[np.generic] | None = None

    @property
    def value(self) -> float:
        """The statistic of the rows as they are."""
        return float(self.statistic(np.ones((1, self.n), dtype=np.int64))[0])

    def resampled(self, seed: Sequence[int], draws: int = DRAWS) -> Floats:
        """Return the statistic of `draws` resamples."""
        random = np.random.default_rng(seed)
        return np.concatenate([self.statistic(counts) for counts in self._counts(random, draws)])

    def _counts(self, random: np.random.Generator, draws: int) -> Iterator[Ints]:
        labels = np.zeros(self.n) if self.strata is None else self.strata
        members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        block = max(1, _CELLS // self.n)
        for done in range(0, draws, block):
            size = min(block, draws - done)
            counts = np.zeros((size, self.n), dtype=np.int64)
            for rows in members:
                drawn = random.integers(len(rows), size=(size, len(rows)))
                drawn += np.arange(size)[:, None] * len(rows)
                flat = np.bincount(drawn.ravel(), minlength=size * len(rows))
                counts[:, rows] = flat.reshape(size, len(rows))
            yield counts


def interval(sample: Sample, *, confidence: float = 0.95, note: str = "") -> Measured:
    """Return the statistic with its interval; the same rows give the same interval.

    Args:
        sample: the statistic and the rows that are drawn again.
        confidence: of the interval, between 0 and 1.
        note: what to know before believing it.

    Returns:
        The estimate; NotDefined if the rows, or more than a twentieth of their resamples, give no
        number.

    """
    draws = sample.resampled((0, 0))
    defined = draws[np.isfinite(draws)]
    if not np.isfinite(sample.value) or len(defined) < 0.95 * DRAWS:
        return NotDefined("these rows are too much alike: most resamples give no number", sample.n)
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(sample.value, float(low), float(high), sample.n, confidence, note)
