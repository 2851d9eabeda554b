"""Intervals for any statistic of rows: the percentile bootstrap (Efron 1979).

A statistic takes how often each row was drawn, of shape (draws, rows), and returns one number per
draw, NaN where it is not defined. So one implementation serves the value itself (each row once)
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


def interval(sample: Sample, confidence: float = 0.95, note: str = "", seed: int = 0) -> Measured:
    """Return the statistic with its interval; the same rows give the same interval."""
    return mean_interval([sample], confidence, note, seed)


def mean_interval(
    samples: Sequence[Sample], confidence: float = 0.95, note: str = "", seed: int = 0
) -> Measured:
    """Return the mean of several independent samples' statistics, each counting the same.

    The samples themselves (tasks) are taken as given, not as drawn from more of them.
    """
    n = sum(sample.n for sample in samples)
    value = float(np.mean([sample.value for sample in samples]))
    resampled = [sample.resampled((seed, number)) for number, sample in enumerate(samples)]
    draws = np.mean(resampled, axis=0)
    defined = draws[np.isfinite(draws)]
    if not np.isfinite(value) or len(defined) < 0.95 * DRAWS:
        return NotDefined("these rows are too much alike: most resamples give no number", n)
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), n, confidence, note)
