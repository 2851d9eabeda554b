"""Numbers that no model can have given: a trace that has them is refused, and never scored.

Each follows from what the numbers are of one row of logits; the slack is for their rounding.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from energy_guard.energy import Floats
from energy_guard.errors import InputError

_SLACK: Final = 1e-3
"""In nats, and of a number a thousandth of that: far above rounding, far below what matters."""

_LARGEST_VOCABULARY: Final = 2**24
"""No model has as many tokens; the bound that a row's own numbers give is mostly closer."""

_HINT: Final = "Take the trace as the engine gave it, or have the answer scored again."


class Numbered(Protocol):
    """The parts of a trace that are checked, which `Trace` describes."""

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Shape (T,)."""

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """T of them."""

    @property
    def token_logit(self) -> Floats:
        """Shape (T,)."""

    @property
    def log_partition(self) -> Floats:
        """Shape (T,) or (T + 1,)."""

    @property
    def row_mean(self) -> Floats:
        """Shape (T,) or (T + 1,)."""

    @property
    def entropy(self) -> Floats:
        """Shape (T,), in nats."""

    @property
    def margin(self) -> Floats:
        """Shape (T,)."""

    @property
    def content_bytes(self) -> int:
        """Bytes of the joined pieces."""

    @property
    def prompt_tokens(self) -> int:
        """How many the prompt has."""

    @property
    def inverse_temperature(self) -> float:
        """Multiplied every row."""

    @property
    def log_probabilities(self) -> bool:
        """Whether the rows were no logits."""

    @property
    def extras(self) -> Any:
        """Further arrays, first axis T."""

    @property
    def finish_reason(self) -> Any:
        """Why the sequence ended."""


def check_trace(trace: Numbered, reasons: Collection[str]) -> None:
    """Raise InputError for parts that do not fit together, and for impossible numbers.

    Args:
        trace: what is checked.
        reasons: why a sequence may have ended.
    """
    wrong = _misshapen(trace, reasons)
    if wrong is not None:
        raise InputError(f"this is not a trace: {wrong}", _HINT)
    wrong = _impossible(trace)
    if wrong is not None:
        raise InputError(f"no model can have given this trace: {wrong}", _HINT)


def _misshapen(trace: Numbered, reasons: Collection[str]) -> str | None:
    """What does not fit together, in words."""
    pieces = trace.pieces
    if not isinstance(pieces, tuple) or not all(isinstance(piece, bytes) for piece in pieces):
        return "pieces is no tuple of bytes"
    count = len(pieces)
    shapes: dict[str, tuple[tuple[int], ...]] = {}
    shapes |= dict.fromkeys(("ids", "token_logit", "entropy", "margin"), ((count,),))
    shapes |= dict.fromkeys(("log_partition", "row_mean"), ((count,), (count + 1,)))
    for name, allowed in shapes.items():
        value, kinds = getattr(trace, name), "iu" if name == "ids" else "f"
        if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds:
            return f"{name} is no array of numbers"
        if value.shape not in allowed:
            return f"its arrays do not fit together ({name} has the shape {value.shape})"
    if trace.row_mean.shape != trace.log_partition.shape:
        return "its arrays do not fit together (row_mean and log_partition)"
    if not _whole(trace.content_bytes) or trace.content_bytes > sum(map(len, pieces)):
        return f"content_bytes is {trace.content_bytes!r}, and there are fewer"
    if not _whole(trace.prompt_tokens):
        return f"prompt_tokens is {trace.prompt_tokens!r}"
    beta = trace.inverse_temperature
    if not isinstance(beta, float | int) or not 0 < beta < math.inf:
        return f"inverse_temperature is {beta!r}"
    if trace.finish_reason not in tuple(reasons):
        return f"finish_reason is {trace.finish_reason!r}"
    return None


def _whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and bool(number >= 0)


def _impossible(trace: Numbered) -> str | None:
    """Which number cannot be, in words."""
    unknown = trace.log_probabilities and bool(np.isnan(trace.row_mean).all())  # no energies use it
    for name in ("token_logit", "log_partition", *(() if unknown else ("row_mean",))):
        if not np.isfinite(getattr(trace, name)).all():
            return f"{name} is missing or not finite for a token"
    for name in ("entropy", "margin"):  # they may be missing, and then nothing is scored by them
        if np.isinf(getattr(trace, name)).any():
            return f"{name} is not finite for a token"
    count = len(trace.pieces)
    partition, mean = trace.log_partition[:count], trace.row_mean[:count]
    spread, entropy = partition - mean, trace.entropy
    slack = _SLACK * (1 + 1e-3 * np.abs(partition))
    most = math.log(_LARGEST_VOCABULARY)
    # The mean logit under the row's own probabilities is at least the plain one, and the
    # partition is at least that of a row which is flat: both bound what a row can be.
    rules = {
        "token_logit is above log_partition, so that nll is below 0": trace.token_logit - partition,
        "row_mean is above log_partition": -spread,
        "entropy is below 0": -entropy,
        "entropy is above that of any row with this log_partition and row_mean": entropy - spread,
        "entropy is above the logarithm of any vocabulary": entropy - most,
        "margin is below 0": -trace.margin,
    }
    return next((said for said, excess in rules.items() if np.any(excess > slack)), None)
