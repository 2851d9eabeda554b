"""Fits P(wrong) to labelled scores by Platt's method; the fitting itself is scikit-learn's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from energy_guard.energy import Bools, Floats
from energy_guard.errors import InputError
from energy_guard.extras import needs_extra
from energy_guard.profile.calibration import Calibration

_FEW: Final = 30


def fit_calibration(
    scores: npt.ArrayLike,
    wrong: npt.ArrayLike,
    *,
    lengths: Sequence[int] | None = None,
) -> Calibration:
    """Fit P(wrong) to the scores of labelled answers, one row a question.

    scores: growing with risk, finite, any unit. lengths: of the answer spans, in tokens.
    A score that does not separate right from wrong, or does it the wrong way round, gives slope
    0: the base rate for everything, and a note. Platt's targets are smoothed as in his paper
    (Platt 1999), so that perfectly separated answers do not give an endless slope.

    Raises InputError for one class only, and for scores that are not finite.

    >>> fit_calibration([0, 1, 2, 3], [False, True, False, True]).p_wrong(1.5)
    0.5
    """
    x, y = _labelled(scores, wrong)
    ends: dict[str, Any] = {"n": len(y), "n_wrong": int(y.sum())}
    ends |= {"lowest": float(x.min()), "highest": float(x.max())}
    if lengths is not None:
        if len(lengths) != len(y):
            raise InputError(f"there are {len(y)} scores and {len(lengths)} lengths")
        ends |= {"shortest": int(min(lengths)), "longest": int(max(lengths))}
    slope, intercept = _platt(x, y)
    return Calibration(slope=slope, intercept=intercept, note=_note(slope, y), **ends)


def _labelled(scores: npt.ArrayLike, wrong: npt.ArrayLike) -> tuple[Floats, Bools]:
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(wrong, dtype=bool)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(f"there are {x.size} scores and {y.size} labels")
    if not np.all(np.isfinite(x)):
        raise InputError(
            f"{np.sum(~np.isfinite(x))} of {x.size} scores are missing or infinite",
            "Leave rows without a score out.",
        )
    if y.all() or not y.any():
        what = (
            "no answers"
            if not y.size
            else f"all {y.size} answers are " + ("wrong" if y.all() else "right")
        )
        raise InputError(
            f"a calibration needs right and wrong answers, and {what}",
            "Add questions that are easier or harder for this model.",
        )
    return x, y


def _platt(x: Floats, y: Bools) -> tuple[float, float]:
    """Slope and intercept; scaled for the fit, so that its tolerance fits any unit."""
    n_wrong, n_right = int(y.sum()), int((~y).sum())
    base = math.log(n_wrong / n_right)
    centre, scale = float(np.mean(x)), float(np.std(x))
    if scale == 0:
        return 0.0, base
    with needs_extra("eval"):
        from sklearn.linear_model import LogisticRegression
    target = np.where(y, (n_wrong + 1) / (n_wrong + 2), 1 / (n_right + 2))
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    rows = np.tile((x - centre) / scale, 2)[:, None]
    sides = np.repeat([True, False], len(y))
    model.fit(rows, sides, sample_weight=np.concatenate([target, 1 - target]))
    steepness = float(model.coef_[0, 0])
    if steepness < 1e-6:  # falling, or flat as far as the solver can tell
        return 0.0, base
    slope = steepness / scale
    return slope, float(model.intercept_[0]) - slope * centre


def _note(slope: float, y: Bools) -> str:
    if slope == 0:
        return (
            "the score does not tell wrong from right answers here: every P(wrong) is the base rate"
        )
    fewer = min(int(y.sum()), int((~y).sum()))
    if fewer < _FEW:
        return f"only {fewer} answers of the rarer class: P(wrong) is a rough guess"
    return ""
