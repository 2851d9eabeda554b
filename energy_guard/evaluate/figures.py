"""Figures of one guard on graded answers, as the plain objects that reports are made from.

p_wrong is the guard's P(wrong) of every row, NaN if it has none: such an answer is withheld.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from energy_guard.energy import Bools, Floats
from energy_guard.estimates import ranking
from energy_guard.estimates.calibration_quality import brier_skill, calibration_error, reliability
from energy_guard.estimates.confidence_targets import Graded, TargetRow, target_table
from energy_guard.estimates.estimate import Measured, NotDefined
from energy_guard.extras import needs_extra
from energy_guard.report.results import GuardFigures, Histogram, Number, Points, Target

RISKS: Final = (0.1, 0.2)
"""Risks at which coverage is reported."""

_POINTS: Final = 150
"""Of a curve, at the most: more than a plot can show."""

_BINS: Final = 20


def guard_figures(graded: Graded, p_wrong: Floats) -> GuardFigures:
    """Return risk and coverage, calibration, and what answering earns, for n rows."""
    wrong, known = graded.wrong, np.isfinite(p_wrong)
    tasks = None if graded.tasks is None else graded.tasks[known]
    of_known = p_wrong[known], wrong[known]
    return {
        "n": len(wrong),
        "without_p_wrong": int((~known & (graded.right | graded.wrong)).sum()),
        "aurc": measured(ranking.aurc(*of_known)),
        "aurc_excess": measured(ranking.aurc_excess(*of_known)),
        "coverage_at_risk": {
            str(risk): measured(ranking.coverage_at_risk(p_wrong, wrong, max_risk=risk))
            for risk in RISKS
        },
        "risk_coverage": _risk_coverage(p_wrong, wrong),
        "brier_skill": measured(brier_skill(*of_known, tasks=tasks)),
        "calibration_error": measured(calibration_error(*of_known)),
        "reliability": [
            {"p_wrong": each.p_wrong, "wrong": measured(each.wrong)}
            for each in reliability(*of_known)
        ],
        "histogram": _histogram(*of_known),
        "targets": [_target(row) for row in target_table(graded, p_wrong)],
    }


def measured(number: Measured) -> Number:
    """Return a number with its interval and n, or null with the reason."""
    if isinstance(number, NotDefined):
        return {"value": None, "reason": number.reason, "n": number.n}
    found: Number = {
        "value": number.value,
        "low": number.low,
        "high": number.high,
        "n": number.n,
    }
    if number.note:
        found["note"] = number.note
    return found


def roc(risk: Floats, wrong: Bools) -> Points:
    """Return the curve as points (right answers, wrong answers) above a threshold, as shares."""
    with needs_extra("eval"):
        from sklearn.metrics import roc_curve
    false_alarms, caught, _ = roc_curve(wrong, risk)
    return _thinned(np.column_stack([false_alarms, caught]))


def _risk_coverage(p_wrong: Floats, wrong: Bools) -> Points:
    """Points (coverage, risk, low, high), from the least risky answers on."""
    curve = ranking.risk_coverage(p_wrong, wrong)
    return _thinned(np.column_stack([curve.coverage, curve.risk, curve.low, curve.high]))


def _histogram(p_wrong: Floats, wrong: Bools) -> Histogram:
    """How many right and wrong answers have their P(wrong) in each of equal parts of 0 to 1."""
    edges = np.linspace(0, 1, _BINS + 1)
    return {
        "right": np.histogram(p_wrong[~wrong], edges)[0].tolist(),
        "wrong": np.histogram(p_wrong[wrong], edges)[0].tolist(),
    }


def _target(row: TargetRow) -> Target:
    return {
        "target": row.target,
        "penalty": row.penalty,
        "always": measured(row.always),
        "guard": measured(row.guard),
        "oracle": measured(row.oracle),
        "gain": measured(row.gain),
        "share": measured(row.share),
        "coverage": measured(row.coverage),
        "accuracy": measured(row.accuracy),
        "abstained_unanswerable": measured(row.abstained_unanswerable),
    }


def _thinned(points: Floats) -> Points:
    kept = np.unique(np.linspace(0, max(len(points) - 1, 0), _POINTS).astype(int))
    thinned: Points = points[kept[: len(points)]].tolist()
    return thinned
