"""Fitting a detector to labelled answers: logistic regression that is held back where data are few.

`fit` learns one set of weights from several tasks, `adapt` moves a fitted detector towards the
answers of one task as far as these bear it out. Both scale by the medians and quartiles of what
they are given, which the detector keeps; labels are never seen by what is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from energy_guard.energy import Floats
from energy_guard.errors import InputError
from energy_guard.fitted import LIMIT, FittedDetector, Term, Training

Flags = npt.NDArray[np.bool_]

FEATURES: Final = (
    *(f"span.nll:{pooling}" for pooling in ("max", "mean", "sum", "min", "first", "last")),
    *(f"span.entropy:{pooling}" for pooling in ("max", "mean", "sum", "first")),
    *(f"span.margin:{pooling}" for pooling in ("min", "mean")),
    *(f"span.centred_logit_energy:{pooling}" for pooling in ("max", "mean", "first", "min")),
    *(f"span.centred_marginal_energy:{pooling}" for pooling in ("max", "mean", "last")),
    *(f"span.centred_spilled_energy:{pooling}" for pooling in ("mean", "sum", "min")),
    *(f"span.spilled_energy:{pooling}" for pooling in ("max", "mean", "sum")),
    *(f"answer.nll:{pooling}" for pooling in ("max", "mean", "sum")),
    *(f"answer.entropy:{pooling}" for pooling in ("max", "mean", "sum", "first")),
    "answer.margin:mean",
    *(f"answer.centred_logit_energy:{pooling}" for pooling in ("max", "mean", "first")),
    *(f"answer.centred_marginal_energy:{pooling}" for pooling in ("max", "mean")),
    "answer.centred_spilled_energy:mean",
    *(f"answer.spilled_energy:{pooling}" for pooling in ("mean", "sum", "min", "first")),
    "prompt.centred_marginal_energy",
    "span.tokens",
    "span.share",
    "span.doubtful",
    "answer.tokens",
    "answer.distinct",
    "answer.ended",
)
"""What the default detector is made of."""

RIDGE: Final = 0.3
"""Weight of the penalty on squared weights beside the mean log-loss."""

LADDER: Final = (100.0, 10.0, 3.0, 1.0, 0.3, 0.1)
"""Penalties on leaving the prior that `adapt` chooses from; the first means: hardly at all."""

_FOLDS: Final = 5
_MOST: Final = 100
"""Rows of each class (harmonic mean) beyond which a task gains no further weight."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Scored answers with labels.

    names: the features. values: shape (n, names). wrong, tasks: shape (n,). InputError where a
    class is missing: nothing can be learnt from right or wrong answers alone.
    """

    names: tuple[str, ...]
    values: Floats
    wrong: Flags
    tasks: npt.NDArray[np.str_]

    def __post_init__(self) -> None:
        if self.wrong.all() or not self.wrong.any():
            raise InputError(
                f"all {len(self.wrong)} answers are {'wrong' if self.wrong.any() else 'right'}",
                "Fitting needs both: ask easier or harder questions, or more of them.",
            )
        if not np.all(np.isfinite(self.values)):
            raise InputError("a feature is missing", "Leave out answers that cannot be scored.")

    def part(self, keep: Flags | npt.NDArray[np.int64]) -> Examples:
        """Return some of the answers."""
        return Examples(self.names, self.values[keep], self.wrong[keep], self.tasks[keep])

    @property
    def summary(self) -> Training:
        """What a detector fitted on these says it was fitted on."""
        tasks = tuple(sorted(set(self.tasks.tolist())))
        return Training(tasks=tasks, n=len(self.wrong), n_wrong=int(self.wrong.sum()))


def fit(examples: Examples, ridge: float = RIDGE) -> FittedDetector:
    """Fit one set of weights over all tasks, each with an intercept of its own.

    A task counts by its evidence, up to a limit; right and wrong answers count alike in it.
    """
    centre, scale = _scaling(examples.values)
    scaled = np.clip((examples.values - centre) / scale, -LIMIT, LIMIT)
    names, task = np.unique(examples.tasks, return_inverse=True)
    rows = _task_weights(examples.wrong, task)
    groups = np.eye(len(names))[task]
    zeros = np.zeros(scaled.shape[1])
    weights, intercepts = _maximise(scaled, examples.wrong, rows, groups, zeros, ridge)
    shares = groups.T @ rows
    intercept = float(intercepts @ shares / shares.sum())
    terms = zip(examples.names, centre, scale, weights, strict=True)
    return FittedDetector(
        terms=tuple(Term(feature=f, centre=c, scale=s, weight=w) for f, c, s, w in terms),
        intercept=intercept,
        training=examples.summary,
    )


def adapt(prior: FittedDetector, examples: Examples, seed: int = 0) -> FittedDetector:
    """Move the weights of a detector towards new answers, no further than they bear out.

    How far is chosen by cross-validated log-loss: the strongest penalty of `LADDER` that is not
    worse than the best by more than one standard error of their difference over the folds.
    """
    centre = np.array([term.centre for term in prior.terms])
    scale = np.array([term.scale for term in prior.terms])
    start = np.array([term.weight for term in prior.terms])
    scaled = np.clip((examples.values - centre) / scale, -LIMIT, LIMIT)
    penalty = _penalty(scaled, examples.wrong, start, seed)
    weights, intercept = _towards(scaled, examples.wrong, start, penalty)
    terms = zip(prior.terms, weights, strict=True)
    return FittedDetector(
        terms=tuple(t.model_copy(update={"weight": float(w)}) for t, w in terms),
        intercept=intercept,
        training=examples.summary,
    )


def cross_fit(
    examples: Examples, fitter: Callable[[Examples], FittedDetector], seed: int = 0
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Score every answer by a detector fitted without its fold.

    Returns the log-odds and the fold of each answer, both shape (n,). Folds are stratified by
    task and label. Scores of different folds come from different detectors.
    """
    folds = folds_of(examples, seed)
    out = np.full(len(examples.wrong), np.nan)
    for fold in range(_FOLDS):
        held = folds == fold
        out[held] = fitter(examples.part(~held)).log_odds(examples.values[held])
    return out, folds


def folds_of(examples: Examples, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return the fold of each answer, stratified by task and label, shape (n,)."""
    folds = np.zeros(len(examples.wrong), dtype=np.int64)
    for number, task in enumerate(np.unique(examples.tasks)):
        for wrong in (False, True):
            rows = np.flatnonzero((examples.tasks == task) & (examples.wrong == wrong))
            order = np.random.default_rng((seed, number, wrong)).permutation(len(rows))
            folds[rows[order]] = (np.arange(len(rows)) + number) % _FOLDS
    return folds


def _scaling(values: Floats) -> tuple[Floats, Floats]:
    """Median and quartile distance as a standard deviation; the deviation where that is tiny."""
    low, centre, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    robust, deviation = (high - low) / 1.349, values.std(axis=0)
    scale = np.where(robust > deviation / 10, robust, deviation)
    return centre, np.where(scale > 0, scale, 1.0)


def _task_weights(wrong: Flags, task: npt.NDArray[np.int64]) -> Floats:
    """A weight a row: both classes of a task alike, tasks by their evidence; sums to 1."""
    weights = np.zeros(len(wrong))
    for number in range(task.max() + 1):
        bad, good = (task == number) & wrong, (task == number) & ~wrong
        if bad.any() and good.any():
            evidence = min(2 / (1 / bad.sum() + 1 / good.sum()), _MOST)
            weights[bad], weights[good] = evidence / bad.sum(), evidence / good.sum()
    if not weights.any():
        raise InputError("no task has both right and wrong answers", "Ask more questions.")
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _balanced(wrong: Flags) -> Floats:
    halves = np.where(wrong, 0.5 / max(wrong.sum(), 1), 0.5 / max((~wrong).sum(), 1))
    return np.asarray(halves, dtype=np.float64)


def _maximise(
    scaled: Floats, wrong: Flags, rows: Floats, groups: Floats, start: Floats, ridge: float
) -> tuple[Floats, Floats]:
    """Weights (with a penalty on their distance from `start`) and intercepts of the groups."""
    from scipy.optimize import minimize
    from scipy.special import expit

    count, sign = scaled.shape[1], np.where(wrong, 1.0, -1.0)

    def loss(point: Floats) -> tuple[float, Floats]:
        weights, intercepts = point[:count], point[count:]
        margin = sign * (scaled @ weights + groups @ intercepts)
        slope = -sign * rows * expit(-margin)
        away = weights - start
        value = rows @ np.logaddexp(0, -margin) + ridge / 2 * (away @ away)
        value += _TINY / 2 * (intercepts @ intercepts)  # a group of one class has no optimum
        gradient = (scaled.T @ slope + ridge * away, groups.T @ slope + _TINY * intercepts)
        return float(value), np.concatenate(gradient)

    found = minimize(
        loss, np.concatenate([start, np.zeros(groups.shape[1])]), jac=True, method="L-BFGS-B"
    )
    return found.x[:count], found.x[count:]


_TINY: Final = 1e-6


def _towards(scaled: Floats, wrong: Flags, start: Floats, ridge: float) -> tuple[Floats, float]:
    ones = np.ones((len(wrong), 1))
    weights, intercepts = _maximise(scaled, wrong, _balanced(wrong), ones, start, ridge)
    return weights, float(intercepts[0])


def _penalty(scaled: Floats, wrong: Flags, start: Floats, seed: int) -> float:
    """Choose from `LADDER` by the one-standard-error rule; the first where folds lack a class."""
    from sklearn.model_selection import StratifiedKFold

    if min(wrong.sum(), (~wrong).sum()) < _FOLDS:
        return LADDER[0]
    losses = np.zeros((_FOLDS, len(LADDER)))
    split = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(scaled, wrong)
    for fold, (train, test) in enumerate(split):
        sign = np.where(wrong[test], 1.0, -1.0)
        for at, ridge in enumerate(LADDER):
            weights, intercept = _towards(scaled[train], wrong[train], start, ridge)
            margin = sign * (scaled[test] @ weights + intercept)
            losses[fold, at] = _balanced(wrong[test]) @ np.logaddexp(0, -margin)
    best = int(losses.mean(axis=0).argmin())
    worse = losses - losses[:, [best]]
    error = worse.std(axis=0, ddof=1) / np.sqrt(_FOLDS)
    return next(r for r, ok in zip(LADDER, worse.mean(axis=0) <= error, strict=True) if ok)


def stack(
    names: Sequence[str], rows: Sequence[Floats], wrong: Sequence[bool], tasks: Sequence[str]
) -> Examples:
    """Put the features of single answers together."""
    return Examples(tuple(names), np.array(rows), np.array(wrong, bool), np.array(tasks, str))
