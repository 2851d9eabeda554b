"""One row of logits, reduced to a few floats; and every signal as a pure function of those.

This module knows nothing of models, tokens' text or files. Signs are stated here, once
(docs/decisions/0001-signs-and-alignment.md); units are nats (logits are in nats too).
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from energy_guard.errors import RowError

Floats = npt.NDArray[np.float64]

NORMALISED_TOLERANCE: Final = 1e-4
"""Rows whose log-partition is all within this of 0 are log-probabilities, not logits."""


class Row(NamedTuple):
    """What is kept of one row of logits f over the vocabulary.

    log_partition: log Σ exp f. mean: the mean of the finite entries of f, its gauge.
    entropy: log_partition − Σ p f, in nats, at least 0. margin: largest − second largest.
    """

    log_partition: float
    mean: float
    entropy: float
    margin: float


class RowReducer:
    """Reduces rows of one length without allocating: two scratch rows are reused.

    Not for two threads at once. `inverse_temperature` multiplies every row.

    >>> RowReducer(2).reduce(np.array([0.0, 0.0], dtype=np.float32)).entropy
    0.6931471805599453
    """

    def __init__(
        self, size: int, dtype: npt.DTypeLike = np.float32, inverse_temperature: float = 1.0
    ) -> None:
        if size < 1:
            raise RowError("a row of logits has no entries")
        self.inverse_temperature = inverse_temperature
        self._shifted: npt.NDArray[Any] = np.empty(size, dtype)
        self._exp: npt.NDArray[Any] = np.empty(size, dtype)

    def reduce(self, row: npt.NDArray[Any]) -> Row:
        """Reduce `row`, shape (size,), raw logits; −inf is zero mass.

        Raises RowError for NaN, +inf, or a row without any mass.
        """
        beta, shifted, exp = self.inverse_temperature, self._shifted, self._exp
        best = int(row.argmax())  # NaN counts as largest
        top = float(row[best])
        if not math.isfinite(top):
            raise RowError(
                f"a row of logits holds {'no mass' if top == -math.inf else top}",
                "The engine's output is broken: run `energy-guard doctor` on this model.",
            )
        rest = max(
            float(row[:best].max(initial=-math.inf)), float(row[best + 1 :].max(initial=-math.inf))
        )
        # float32 is exact enough once shifted: the sums are pairwise, the logarithm is float64.
        np.subtract(row, top, out=shifted)
        total = float(shifted.sum())
        if beta != 1.0:
            np.multiply(shifted, beta, out=shifted)
        np.exp(shifted, out=exp)
        mass = float(exp.sum())
        np.multiply(exp, shifted, out=exp)
        energy = float(exp.sum())
        if math.isfinite(total):
            mean = top + total / row.size
        else:  # 0 · −inf is NaN, and the mean is over what is finite: both only with −inf entries
            energy = float(np.nansum(exp))
            mean = float(row[np.isfinite(row)].mean())
        log_mass = math.log(mass)
        return Row(
            log_partition=beta * top + log_mass,
            mean=beta * mean,
            entropy=max(0.0, log_mass - energy / mass),
            margin=beta * (top - rest),
        )

    def token_logit(self, row: npt.NDArray[Any], token: int) -> float:
        """Return the logit of the chosen `token`; RowError where it is not finite."""
        value = float(row[token])
        if not math.isfinite(value):
            raise RowError(
                f"the chosen token {token} has the logit {value}",
                "Rows must be raw: hand over the logits from before any sampling filter.",
            )
        return self.inverse_temperature * value


def reduce_row(row: npt.NDArray[Any], inverse_temperature: float = 1.0) -> Row:
    """Reduce one row, shape (vocabulary,), in its own precision; see `RowReducer`."""
    return RowReducer(row.size, row.dtype, inverse_temperature).reduce(row)


def is_normalised(log_partition: Floats) -> bool:
    """Tell whether all rows of a trace are log-probabilities: log-partition within 1e-4 of 0."""
    return log_partition.size > 0 and bool(np.all(np.abs(log_partition) < NORMALISED_TOLERANCE))


# In what follows every argument and result has shape (T,). `next_` marks a number of the row
# after the token: the row that saw the token in its context. It is NaN where that is missing.


def nll(token_logit: Floats, log_partition: Floats) -> Floats:
    """−log p(token) = log Σ exp f_t − f_t[x_t]; at least 0; higher is riskier."""
    return log_partition - token_logit


def logit_energy(token_logit: Floats) -> Floats:
    """E^ℓ = −f_t[x_t]; higher is riskier."""
    return -token_logit


def marginal_energy(next_log_partition: Floats) -> Floats:
    """E^m = −log Σ exp f_{t+1}, read after the token is in the context."""
    return -next_log_partition


def spilled_energy(token_logit: Floats, next_log_partition: Floats) -> Floats:
    """ΔE = E^ℓ − E^m = log Σ exp f_{t+1} − f_t[x_t]; signed (Minut et al.)."""
    return next_log_partition - token_logit


def scaled_spilled_energy(token_logit: Floats, next_log_partition: Floats) -> Floats:
    """ΔE_s = |E^m| · ΔE (Minut et al.)."""
    spilled = spilled_energy(token_logit, next_log_partition)
    return np.abs(marginal_energy(next_log_partition)) * spilled


def centred_logit_energy(token_logit: Floats, row_mean: Floats) -> Floats:
    """−(f_t[x_t] − mean f_t): does not move when a constant is added to any row."""
    return -(token_logit - row_mean)


def centred_marginal_energy(next_log_partition: Floats, next_row_mean: Floats) -> Floats:
    """−(log Σ exp f_{t+1} − mean f_{t+1}); gauge-fixed like `centred_logit_energy`."""
    return -(next_log_partition - next_row_mean)


def centred_spilled_energy(
    token_logit: Floats, row_mean: Floats, next_log_partition: Floats, next_row_mean: Floats
) -> Floats:
    """Centred logit energy − centred marginal energy."""
    return centred_logit_energy(token_logit, row_mean) - centred_marginal_energy(
        next_log_partition, next_row_mean
    )
