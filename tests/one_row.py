"""One row of logits reduced by a reducer of its own: what tests of single rows need."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from energy_guard.energy import Row, RowReducer


def reduce_row(row: npt.NDArray[Any], inverse_temperature: float = 1.0) -> Row:
    """Reduce one row, shape (vocabulary,), in its own precision."""
    return RowReducer(row.size, row.dtype, inverse_temperature).reduce(row)
