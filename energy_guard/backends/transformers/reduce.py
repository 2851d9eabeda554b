"""Rows of logits → a few floats, on the device where they are.

On the processor that is `energy.RowReducer` itself: PyTorch takes new memory for each of its dozen
steps, and fresh pages cost more than the sums. On other devices it is the same in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from energy_guard.energy import LogProbabilityRow, Row, RowReducer, holds_log_probabilities
from energy_guard.errors import RowError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

_NO_MASS: Final = -1e4
"""Below the logarithm of any float32: what is here has no mass, and 0 times it is 0."""


_BROKEN: Final = Row(math.nan, math.nan, math.nan, math.nan)


class RowsReducer:
    """Reduces the rows of step after step, wherever they are. Not for two threads at once."""

    def __init__(self) -> None:
        self._reducer: RowReducer | None = None
        self._size = 0

    def rows_of(self, rows: Tensor, tokens: Tensor | None = None) -> tuple[list[Row], list[float]]:
        """Return the numbers of float32 rows, and the logits of the tokens chosen from them.

        rows: shape (N, vocabulary). tokens: shape (N,). What is not finite stays so: `checked`
        tells.
        """
        if rows.device.type != "cpu":
            return rows_of(rows, tokens)
        table = rows.detach().numpy()
        if self._reducer is None or self._size != table.shape[1]:
            self._size = table.shape[1]
            self._reducer = RowReducer(self._size)
        chosen = [] if tokens is None else zip(table, tokens.tolist(), strict=True)
        return [_reduced(self._reducer, row) for row in table], [float(r[t]) for r, t in chosen]


def scaled_rows_of(
    reducer: RowsReducer, rows: Tensor, betas: Sequence[float], tokens: Tensor | None = None
) -> tuple[list[Row], list[float]]:
    """Multiply rows by inverse temperatures and reduce them, see `RowsReducer.rows_of`.

    Whether they are log-probabilities is seen in the rows as they were.

    Args:
        reducer: reduces them.
        rows: shape (N, vocabulary), float32.
        betas: N of them; none for 1 everywhere.
        tokens: shape (N,), what was chosen.
    """
    if all(beta == 1.0 for beta in betas):
        return reducer.rows_of(rows, tokens)
    found, logits = reducer.rows_of(rows * rows.new_tensor(betas)[:, None], tokens)
    partitions = rows.logsumexp(-1).tolist()
    kinds = [_kind(rows[n], partition) for n, partition in enumerate(partitions)]
    return [kind(*row) for kind, row in zip(kinds, found, strict=True)], logits


def _reduced(reducer: RowReducer, row: npt.NDArray[np.float32]) -> Row:
    """A row that cannot be reduced is refused only where it is wanted: not where it is padding."""
    try:
        return reducer.reduce(row)
    except RowError:
        return _BROKEN


def reduce_rows(rows: Tensor) -> Tensor:
    """Reduce float32 rows, shape (N, vocabulary), to shape (N, 4): the fields of `Row`.

    The mean of a row with −inf entries comes out as −inf; `rows_of` mends it.
    """
    import torch

    top, at = rows.max(-1, keepdim=True)
    shifted = rows - top
    total = shifted.sum(-1)
    shifted.scatter_(1, at, -math.inf)
    margin = -shifted.amax(-1)
    shifted.scatter_(1, at, 0.0)
    weights = shifted.exp()
    mass = weights.sum(-1)
    energy = weights.mul_(shifted.clamp_(min=_NO_MASS)).sum(-1)
    top, log_mass = top[:, 0], mass.log()
    return torch.stack(
        (
            top + log_mass,
            top + total / rows.shape[1],
            (log_mass - energy / mass).clamp_(min=0.0),
            margin,
        ),
        dim=1,
    )


def rows_of(rows: Tensor, tokens: Tensor | None = None) -> tuple[list[Row], list[float]]:
    """In PyTorch, with one transfer from the device; see `RowsReducer.rows_of`."""
    import torch

    numbers = reduce_rows(rows)
    if tokens is not None:
        numbers = torch.cat((numbers, rows.gather(1, tokens[:, None])), dim=1)
    table = numbers.tolist()
    if any(line[1] == -math.inf for line in table):  # some entries have no mass
        finite = rows.isfinite()
        means = torch.where(finite, rows, 0.0).sum(-1) / finite.sum(-1)
        for line, mean in zip(table, means.tolist(), strict=True):
            line[1] = mean
    found = [_kind(rows[n], line[0])(*line[:4]) for n, line in enumerate(table)]
    return found, [line[4] for line in table if tokens is not None]


def _kind(row: Tensor, log_partition: float) -> type[Row]:
    """Whether a row is logits or log-probabilities; it leaves its device only if it may be."""
    if not abs(log_partition) < 0.1:
        return Row
    lost = holds_log_probabilities(row.detach().cpu().numpy(), log_partition)
    return LogProbabilityRow if lost else Row


def checked(row: Row, token_logit: float = 0.0, token: int = -1) -> Row:
    """Return the row; RowError if it, or the chosen token's logit, is not finite."""
    if not math.isfinite(row.log_partition) or not math.isfinite(row.mean):
        raise RowError(
            "a row of logits holds NaN, infinity or no mass at all",
            "The model's output is broken: try float32, or other weights.",
        )
    if not math.isfinite(token_logit):
        raise RowError(
            f"the chosen token {token} has the logit {token_logit}",
            "The model itself rules that token out: check the processors that chose it.",
        )
    return row
