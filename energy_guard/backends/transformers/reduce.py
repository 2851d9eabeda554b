"""Rows of logits → a few floats, on the device where they are: `energy.RowReducer` in PyTorch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from energy_guard.energy import Row
from energy_guard.errors import RowError

if TYPE_CHECKING:
    from torch import Tensor

_NO_MASS: Final = -1e4
"""Below the logarithm of any float32: what is here has no mass, and 0 times it is 0."""


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
    """Return the numbers of float32 rows, and the logits of the tokens chosen from them.

    rows: shape (N, vocabulary). tokens: shape (N,). One transfer from the device. What is not
    finite stays so: `checked` tells.
    """
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
    return [Row(*line[:4]) for line in table], [line[4] for line in table if tokens is not None]


def checked(row: Row, token_logit: float = 0.0, token: int = -1) -> Row:
    """Return the row; RowError where it, or the chosen token's logit, is not finite."""
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
