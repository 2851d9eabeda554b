"""The largest logits of a row: the tokens that were the likeliest in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Likeliest = tuple[tuple[int, float], ...]
"""Token ids with their logits, the largest first; of equal ones the smaller id."""

IDS, LOGITS = "likeliest_ids", "likeliest_logits"
"""Names of the arrays that a trace has of them, shape (T, count) each."""

TOP_ENTROPY, TOP_SHARE = "top_entropy", "top_share"
"""Names of the arrays that a trace has if only the likeliest tokens of each row are known, shape
(T,) each: −Σ p log p over them, a lower bound of the entropy in nats, and Σ p."""


def likeliest(row: npt.NDArray[Any], count: int, inverse_temperature: float = 1.0) -> Likeliest:
    """Return the largest logits of a row.

    Args:
        row: shape (vocabulary,), raw logits.
        count: how many at most; 0 for none.
        inverse_temperature: multiplies the logits.

    >>> likeliest(np.array([0.5, 2.0, 1.0]), 2)
    ((1, 2.0), (2, 1.0))
    """
    count = min(count, row.size)
    if count < 1:
        return ()
    least = np.partition(row, -count)[-count]
    ids = np.flatnonzero(row >= least)  # in the order of their ids, equal ones included
    ids = ids[np.argsort(-row[ids], kind="stable")][:count]
    return tuple((int(i), inverse_temperature * float(row[i])) for i in ids)


def as_arrays(places: Sequence[Likeliest]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a trace; none if one of its places has none."""
    if not places or not all(places):
        return {}
    table = np.array(places, dtype=np.float64)
    return {IDS: table[:, :, 0].astype(np.int64), LOGITS: table[:, :, 1]}
