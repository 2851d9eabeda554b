"""One row of logits, reduced to a few floats; and every signal as a pure function of those.

This module knows nothing of models, tokens' text or files. Signs are stated here, once
(docs/decisions/0001-signs-and-alignment.md); units are nats (logits are in nats too).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from energy_guard.errors import RowError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

NORMALISED_TOLERANCE: Final = 1e-4
"""Rows whose log-partition is all within this of 0 are log-probabilities, not logits."""

_BFLOAT16: Final = 2.0**-9
_FLOAT16: Final = 2.0**-12
"""By how much of itself a number moves at most when it is rounded to this format."""


class Row(NamedTuple):
    """What is kept of one row of logits f over the vocabulary.

    log_partition: log Σ exp f. mean: the mean of the finite entries of f, its gauge.
    entropy: log_partition − Σ p f, in nats, at least 0. margin: largest − second largest.
    """

    log_partition: float
    mean: float
    entropy: float
    margin: float


class LogProbabilityRow(Row):
    """A row that was log-probabilities, before any inverse temperature, and not logits.

    Its nll, entropy and margin are good; its energies are gone.
    """

    __slots__ = ()


_BLOCK: Final = 65_536
"""Entries that all steps are done with before the next ones: so many stay in a core's own cache,
and a thread that decodes meanwhile has the shared one for itself."""


class RowReducer:
    """Reduces rows of one length without allocating: two scratch blocks are reused.

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
        self.size = size
        self._shifted = np.empty(min(size, _BLOCK), dtype)
        self._exp = np.empty_like(self._shifted)
        self._largest = float(np.finfo(self._shifted.dtype).max)

    def reduce(self, row: npt.NDArray[Any]) -> Row:
        """Reduce `row`, shape (size,), raw logits; −inf is zero mass.

        Raises RowError for NaN, +inf, or a row without any mass.
        """
        beta = self.inverse_temperature
        if row.size != self.size:
            raise RowError(f"a row has {row.size} entries and {self.size} were expected")
        best = int(row.argmax())  # NaN counts as largest
        top = row[best]
        if not math.isfinite(top):
            raise RowError(
                f"a row of logits holds {'no mass' if top == -math.inf else top}",
                "The engine's output is broken: run `energy-guard doctor` on this model.",
            )
        # float32 is exact enough once shifted: sums are short, the logarithm is float64.
        second, total, finite, mass, plain_mass, energy = -math.inf, 0.0, 0, 0.0, 0.0, 0.0
        for start in range(0, self.size, _BLOCK):
            part = row[start : start + _BLOCK]
            shifted, exp = self._shifted[: part.size], self._exp[: part.size]
            np.subtract(part, top, out=shifted)
            if start <= best < start + part.size:
                shifted[best - start] = -math.inf
                second = max(second, float(np.maximum.reduce(shifted)))
                shifted[best - start] = 0.0
            else:
                second = max(second, float(np.maximum.reduce(shifted)))
            of_block = float(np.add.reduce(shifted))
            np.exp(shifted, out=exp)
            block_mass = float(np.add.reduce(exp))
            plain_mass += block_mass
            if beta != 1.0:
                with np.errstate(over="ignore"):
                    np.multiply(shifted, beta, out=shifted)
                np.exp(shifted, out=exp)
                block_mass = float(np.add.reduce(exp))
            mass += block_mass
            if math.isfinite(of_block):
                total += of_block
                finite += part.size
            else:  # −inf entries are no part of the mean
                kept = np.isfinite(part)
                total += float((part[kept] - top).sum())
                finite += int(np.count_nonzero(kept))
            # All are at most 0: none is further from it than their sum.
            if -of_block * beta < self._largest:
                np.multiply(exp, shifted, out=exp)
                energy += float(np.add.reduce(exp))
            else:  # no mass: 0 · −inf is 0 here
                kept = np.isfinite(shifted)
                energy += float((exp[kept] * shifted[kept]).sum())
        lost = holds_log_probabilities(row, float(top) + math.log(plain_mass))
        log_mass = math.log(mass)
        return (LogProbabilityRow if lost else Row)(
            log_partition=beta * float(top) + log_mass,
            mean=beta * (float(top) + total / finite),
            entropy=max(0.0, log_mass - energy / mass),
            margin=beta * -second,
        )

    def token_logit(self, row: npt.NDArray[Any], token: int) -> float:
        """Return the logit of the chosen `token`; RowError if it is not finite."""
        value = float(row[token])
        if not math.isfinite(value):
            raise RowError(
                f"the chosen token {token} has the logit {value}",
                "Rows must be raw: hand over the logits from before any sampling filter.",
            )
        return self.inverse_temperature * value


def holds_log_probabilities(row: npt.NDArray[Any], log_partition: float) -> bool:
    """Tell whether a row is log-probabilities: its exponentials sum to 1, up to its rounding.

    Numbers that were rounded to 16 bits are known by it, whatever type holds them now. The
    logarithm of the sum is then off by at most the mean of the changes.

    Args:
        row: shape (vocabulary,), before any inverse temperature.
        log_partition: log Σ exp of it.
    """
    most = NORMALISED_TOLERANCE + _BFLOAT16 * math.log(max(2, row.size))
    if abs(log_partition) >= most:  # as every row of logits: what follows is for few
        return False
    kept = row[np.isfinite(row)].astype(np.float32)
    change = float((np.exp(kept) * np.abs(kept)).sum()) * _rounding(kept)
    return abs(log_partition) < NORMALISED_TOLERANCE + change


def _rounding(row: npt.NDArray[np.float32]) -> float:
    """By how much of itself a number may have moved when the row was rounded; 0 for float32."""
    if not np.any(np.ascontiguousarray(row).view(np.uint32) & 0xFFFF):
        return _BFLOAT16
    with np.errstate(over="ignore"):
        return _FLOAT16 if np.array_equal(row.astype(np.float16), row) else 0.0


def is_normalised(log_partition: Floats) -> bool:
    """Tell whether all rows of a trace are log-probabilities: log-partition within 1e-4 of 0."""
    return log_partition.size > 0 and bool(np.all(np.abs(log_partition) < NORMALISED_TOLERANCE))


class Numbers(NamedTuple):
    """What signals are made of: floats for one token, or arrays of shape (T,) for a sequence.

    The first five are of the row that chose the token. `next_` marks a number of the row after
    the token: the row that saw the token in its context. It is NaN if that is missing.
    """

    token_logit: Any
    log_partition: Any
    row_mean: Any
    entropy: Any
    margin: Any
    next_log_partition: Any
    next_row_mean: Any


def token_logit(n: Numbers) -> Any:
    """f_t[x_t]; lower is riskier."""
    return n.token_logit


def logit_energy(n: Numbers) -> Any:
    """E^ℓ = −f_t[x_t]; higher is riskier."""
    return -n.token_logit


def marginal_energy(n: Numbers) -> Any:
    """E^m = −log Σ exp f_{t+1}, read after the token is in the context."""
    return -n.next_log_partition


def spilled_energy(n: Numbers) -> Any:
    """ΔE = E^ℓ − E^m = log Σ exp f_{t+1} − f_t[x_t]; signed (Minut et al.)."""
    return n.next_log_partition - n.token_logit


def scaled_spilled_energy(n: Numbers) -> Any:
    """ΔE_s = |E^m| · ΔE (Minut et al.)."""
    return abs(marginal_energy(n)) * spilled_energy(n)


def centred_logit_energy(n: Numbers) -> Any:
    """−(f_t[x_t] − mean f_t): does not move when a constant is added to any row."""
    return -(n.token_logit - n.row_mean)


def centred_marginal_energy(n: Numbers) -> Any:
    """−(log Σ exp f_{t+1} − mean f_{t+1}); gauge-fixed like `centred_logit_energy`."""
    return -(n.next_log_partition - n.next_row_mean)


def centred_spilled_energy(n: Numbers) -> Any:
    """Centred logit energy − centred marginal energy."""
    return centred_logit_energy(n) - centred_marginal_energy(n)


def nll(n: Numbers) -> Any:
    """−log p(token) = log Σ exp f_t − f_t[x_t]; at least 0; higher is riskier."""
    return n.log_partition - n.token_logit


def entropy(n: Numbers) -> Any:
    """Log Σ exp f_t − Σ p f_t; higher is riskier."""
    return n.entropy


def margin(n: Numbers) -> Any:
    """Largest − second largest logit; lower is riskier."""
    return n.margin


FORMULAS: Final[Mapping[str, Callable[[Numbers], Any]]] = MappingProxyType(
    {
        formula.__name__: formula
        for formula in (
            token_logit,
            logit_energy,
            marginal_energy,
            spilled_energy,
            scaled_spilled_energy,
            centred_logit_energy,
            centred_marginal_energy,
            centred_spilled_energy,
            nll,
            entropy,
            margin,
        )
    }
)
"""Every signal by its name, in the order in which reports show them."""
