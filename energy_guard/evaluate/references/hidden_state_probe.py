"""A linear probe on hidden states at the exact answer: a trained reference beside the signals.

After Orgad et al. 2024: logistic regression with a penalty on squared weights, on the states of
the exact answer's last token. It sees thousands of numbers from inside the model, where detectors
see a few from its end; with few answers to learn from it need not be better than these. Layers and
token were fixed before any label was looked at; how strong the penalty is, is chosen within the
answers that a probe is fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from energy_guard.calibrate.detector import folds_of, task_weights
from energy_guard.energy import Bools, Floats, Ints
from energy_guard.evaluate.folds import FEWEST, CrossFitted, can_be_fitted, placed
from energy_guard.evaluate.paired_auroc import Risk
from energy_guard.evaluate.task_arrays import Task, examples
from energy_guard.extras import needs_extra
from energy_guard.report.results import Probe

PROBE: Final = "hidden-state probe"
ELSEWHERE: Final = "hidden-state probe, other tasks"

STRENGTHS: Final = (1e-5, 1e-4, 1e-3, 1e-2)
"""Weights of the summed log-loss beside the penalty, the strongest penalty first."""

_INNER: Final = 4
"""Folds within the answers that a probe is fitted to."""


def probes(task: Task, others: Sequence[Task]) -> dict[str, Risk]:
    """Score a task by probes that have not seen what they score.

    The folds are the first ones of the detector that is fitted in domain. others: tasks for a
    probe that was fitted to none of this one's answers. Empty if none can be fitted: see
    `lacking`.
    """
    if lacking(task) is not None:
        return {}
    found: dict[str, Risk] = {PROBE: _in_domain(task)}
    elsewhere = [other for other in others if lacking(other) is None]
    if len(elsewhere) > 1:
        found[ELSEWHERE] = _out_of_domain(task, elsewhere)
    return found


def about(task: Task) -> Probe | None:
    """Say what the probe of a task is made from, or why there is none; None without states."""
    has = [a.stored_states for a in task.answers if a.stored_states is not None]
    if not has:
        return None
    found: Probe = {"layers": list(has[0].layers)}
    reason = lacking(task)
    if reason is not None:
        found["reason"] = reason
    return found


def lacking(task: Task) -> str | None:
    """Why no probe can be fitted to a task and judged on it; None if one can."""
    if not can_be_fitted(task):
        return f"fewer than {FEWEST} answers of a class to fit to"
    needed = [a for a, counts in zip(task.answers, task.fittable, strict=True) if counts]
    without = sum(a.states is None or not np.isfinite(a.states.values).all() for a in needed)
    if not without:
        return None
    return f"{without} of {len(needed)} answers have no hidden states at the exact answer"


def _in_domain(task: Task) -> CrossFitted:
    values, wrong, folds = _values(task), task.wrong[task.fittable], folds_of(examples([task]))
    risk = np.full(len(folds), np.nan)
    for fold in np.unique(folds):
        held = folds == fold
        kept = values[~held], wrong[~held], np.zeros(int((~held).sum()), dtype=np.int64)
        risk[held] = _fitted(*kept)(values[held])
    return CrossFitted(risk[None], folds[None]).placed(task.fittable)


def _out_of_domain(task: Task, others: Sequence[Task]) -> Floats:
    values = np.concatenate([_values(other) for other in others])
    wrong = np.concatenate([other.wrong[other.fittable] for other in others])
    group = np.repeat(np.arange(len(others)), [int(other.fittable.sum()) for other in others])
    return placed(_fitted(values, wrong, group)(_values(task)), task.fittable)


def _fitted(values: Floats, wrong: Bools, group: Ints) -> Callable[[Floats], Floats]:
    """Fit a probe; tasks by their evidence, both classes of each alike.

    The penalty is the one with the best AUROC on answers that were left out: whole tasks, where
    there are several, because that is what the probe is for then.
    """
    with needs_extra("eval"):
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut, StratifiedKFold
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler

    steps = [("scale", StandardScaler()), ("probe", LogisticRegression(max_iter=1000))]
    if group.any():
        cv = list(LeaveOneGroupOut().split(values, wrong, group))
    else:
        cv = list(StratifiedKFold(_INNER).split(values, wrong))
    given = {"probe__sample_weight": task_weights(wrong, group) * len(wrong)}
    search = GridSearchCV(Pipeline(steps), {"probe__C": STRENGTHS}, scoring="roc_auc", cv=cv)
    best = search.fit(values, wrong, **given).best_estimator_
    return lambda states: np.asarray(best.decision_function(states))


def _values(task: Task) -> Floats:
    """The states of both layers one after the other, of answers that count: (fittable, width)."""
    return np.array(
        [
            a.states.values.ravel()
            for a, counts in zip(task.answers, task.fittable, strict=True)
            if counts and a.states is not None
        ],
        dtype=np.float64,
    )
