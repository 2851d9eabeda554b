"""Fitting a detector to labelled answers: logistic regression that is held back where data are few.

`fit` learns one set of weights from several tasks, `adapt` moves a fitted detector towards the
answers of one task as far as these bear it out. Both scale by the medians and quartiles of what
they are given, which the detector keeps; labels are never seen by what is scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from energy_guard.asked_features import ASKED
from energy_guard.energy import Bools, Floats, Ints
from energy_guard.errors import InputError
from energy_guard.extras import needs_extra
from energy_guard.fitted import LIMIT, DetectorTraining, FittedDetector, Term

_SURE: Final = ("nll", "entropy")
_POOLED: Final = ("max", "mean")
FEATURES: Final = (
    *(f"span.log_{signal}:{pooling}" for signal in _SURE for pooling in _POOLED),
    *(f"sentence.log_{signal}:{pooling}" for signal in _SURE for pooling in _POOLED),
    "span.margin:min",
    "span.centred_spilled_energy:sum",
    "sentence.spilled_energy:sum",
    "span.doubtful",
    "span.tokens",
    *ASKED,
)
"""What the default detector is made of."""

RIDGE: Final = 0.1
"""Weight of the penalty on squared weights beside the mean log-loss."""

UNPENALISED: Final = "span.log_nll:max"
"""The best single signal may gain weight freely, and lose none; the others have to earn theirs."""

LADDER: Final = (100.0, 10.0, 3.0, 1.0, 0.3, 0.1)
"""Penalties on leaving the prior that `adapt` chooses from; the first means: hardly at all."""

FOLDS: Final = 5
"""Parts that answers are divided into, each scored by what was fitted to the others."""

_MOST: Final = 100
"""Rows of each class (harmonic mean) beyond which a task gains no further weight."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Scored answers with labels.

    names: the features. values: shape (n, names). wrong, tasks: shape (n,). questions: what
    those that ask the same share, shape (n,); None if no two do. InputError if a class is
    missing: nothing can be learnt from right or wrong answers alone.
    """

    names: tuple[str, ...]
    values: Floats
    wrong: Bools
    tasks: npt.NDArray[np.str_]
    questions: npt.NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        if self.wrong.all() or not self.wrong.any():
            raise InputError(
                f"all {len(self.wrong)} answers are {'wrong' if self.wrong.any() else 'right'}",
                "Fitting needs both: ask easier or harder questions, or more of them.",
            )
        if not np.all(np.isfinite(self.values)):
            raise InputError("a feature is missing", "Leave out answers that cannot be scored.")

    def part(self, keep: Bools | Ints) -> Examples:
        """Return some of the answers."""
        asked = None if self.questions is None else self.questions[keep]
        return Examples(self.names, self.values[keep], self.wrong[keep], self.tasks[keep], asked)

    @property
    def summary(self) -> DetectorTraining:
        """What a detector fitted on these says it was fitted on."""
        tasks = tuple(sorted(set(self.tasks.tolist())))
        return DetectorTraining(tasks=tasks, n=len(self.wrong), n_wrong=int(self.wrong.sum()))


def fit(examples: Examples, ridge: float = RIDGE) -> FittedDetector:
    """Fit one set of weights over all tasks, each with an intercept of its own.

    A task counts by its evidence, up to a limit; right and wrong answers count alike in it.
    InputError if no task has both.
    """
    centre, scale = scaling(examples.values)
    terms = tuple(
        Term(feature=f, centre=c, scale=s, weight=0)
        for f, c, s in zip(examples.names, centre, scale, strict=True)
    )
    blank = FittedDetector(terms=terms, intercept=0, training=examples.summary)
    return _moved(blank, examples, ridge)


def adapt(prior: FittedDetector, examples: Examples, *, seed: int = 0) -> FittedDetector:
    """Move the weights of a detector towards new answers, no further than they bear out.

    How far is chosen by cross-validated log-loss: the strongest penalty of `LADDER` that is not
    worse than the best by more than one standard error of their difference over the folds.
    """
    folds = folds_of(examples, seed)
    losses = np.array(
        [
            [_loss(prior, examples, folds == fold, ridge) for ridge in LADDER]
            for fold in range(FOLDS)
        ]
    )
    best = int(losses.mean(axis=0).argmin())
    worse = losses - losses[:, [best]]
    error = worse.std(axis=0, ddof=1) / np.sqrt(FOLDS)
    fits = worse.mean(axis=0) <= error
    return _moved(prior, examples, LADDER[int(fits.argmax())])


def rescaled(prior: FittedDetector, values: Floats) -> FittedDetector:
    """Return the detector with its features centred and scaled by these answers, shape (n, names).

    Labels play no part: a prior that was fitted on one model meets the numbers of another. What was
    asked stays as it is: a passage means the same of every model, also if all have one here.
    """
    centre, scale = scaling(values)
    terms = zip(prior.terms, centre.tolist(), scale.tolist(), strict=True)
    moved = tuple(
        t if t.feature in ASKED else t.model_copy(update={"centre": c, "scale": s})
        for t, c, s in terms
    )
    return prior.model_copy(update={"terms": moved})


def _loss(prior: FittedDetector, examples: Examples, held: Bools, ridge: float) -> float:
    """The log-loss on held-out answers, tasks and classes weighted as in fitting."""
    kept = examples.part(~held)
    names, task = np.unique(examples.tasks, return_inverse=True)
    weights, intercepts = _learn(prior, kept, names, ridge)
    sign = np.where(examples.wrong, 1.0, -1.0)
    margin = sign * (_as_weighed(prior, examples.values) @ weights + intercepts[task])
    rows = task_weights(examples.wrong[held], task[held])
    return float(rows @ np.logaddexp(0, -margin[held]))


def _moved(prior: FittedDetector, examples: Examples, ridge: float) -> FittedDetector:
    """The detector with new weights and the mean of the tasks' intercepts."""
    names, task = np.unique(examples.tasks, return_inverse=True)
    weights, intercepts = _learn(prior, examples, names, ridge)
    terms = tuple(
        term.model_copy(update={"weight": float(weight)})
        for term, weight in zip(prior.terms, weights, strict=True)
    )
    intercept = float(task_weights(examples.wrong, task) @ intercepts[task])
    return FittedDetector(terms=terms, intercept=intercept, training=examples.summary)


def folds_of(examples: Examples, seed: int = 0) -> Ints:
    """Return the fold of each answer, stratified by task and label, shape (n,).

    Answers to the same question are in one fold.
    """
    # Not scikit-learn's StratifiedGroupKFold: it goes through the groups one by one, some 700
    # times slower, `adapt` divides anew for every fold, and it warns of each small task. Figures
    # in docs/results.md, the shipped detector and the profiles were made with these folds.
    folds = np.zeros(len(examples.wrong), dtype=np.int64)
    for number, task in enumerate(np.unique(examples.tasks)):
        for wrong in (False, True):
            rows = np.flatnonzero((examples.tasks == task) & (examples.wrong == wrong))
            order = np.random.default_rng((seed, number, wrong)).permutation(len(rows))
            folds[rows[order]] = (np.arange(len(rows)) + number) % FOLDS
    if examples.questions is None:
        return folds
    _, first, same = np.unique(examples.questions, return_index=True, return_inverse=True)
    return np.asarray(folds[first][same])


def scaling(values: Floats) -> tuple[Floats, Floats]:
    """Return the centre and the scale of each feature, shape (names,) each.

    Median and quartile distance as a standard deviation; the deviation where that is tiny.
    """
    low, centre, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    robust, deviation = (high - low) / 1.349, values.std(axis=0)
    scale = np.where(robust > deviation / 10, robust, deviation)
    return centre, np.where(scale > 0, scale, 1.0)


def task_weights(wrong: Bools, task: Ints) -> Floats:
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


def scaled(values: Floats, centre: Floats, scale: Floats) -> Floats:
    """Return features as a detector weighs them, shape (n, names)."""
    return np.asarray(np.clip((values - centre) / scale, -LIMIT, LIMIT), dtype=np.float64)


def _as_weighed(detector: FittedDetector, values: Floats) -> Floats:
    centre = np.array([term.centre for term in detector.terms])
    scale = np.array([term.scale for term in detector.terms])
    return scaled(values, centre, scale)


def _learn(
    prior: FittedDetector, examples: Examples, names: npt.NDArray[np.str_], ridge: float
) -> tuple[Floats, Floats]:
    """New weights and an intercept a task: the prior's weights times a free positive factor,
    plus changes with a penalty on their squares.

    The factor lets an overconfident prior calm down without forgetting which answers are riskier.
    """
    weighed = _as_weighed(prior, examples.values)
    groups = (examples.tasks[:, None] == names).astype(np.float64)
    rows = task_weights(examples.wrong, groups.argmax(axis=1))
    start = np.array([term.weight for term in prior.terms])
    columns = np.hstack([weighed, (weighed @ start)[:, None], groups])
    count = len(start)
    held_back = [0.0 if term.feature == UNPENALISED else ridge for term in prior.terms]
    penalty = np.array([*held_back, 0.0, *[_TINY] * len(names)])

    first = np.concatenate([np.zeros(count), [1.0], np.zeros(len(names))])
    low, high = np.full(len(first), -np.inf), np.full(len(first), np.inf)
    low[count], high[count] = _FACTORS
    low[np.flatnonzero(penalty[:count] == 0)] = 0  # not held back, so not to be turned by noise
    found = logistic(columns, examples.wrong, rows, penalty, first=first, bounds=(low, high))
    return found[:count] + found[count] * start, found[count + 1 :]


def logistic(
    columns: Floats,
    wrong: Bools,
    rows: Floats,
    penalty: Floats,
    *,
    first: Floats,
    bounds: tuple[Floats, Floats] = (np.array(-np.inf), np.array(np.inf)),
) -> Floats:
    """Return the weights of columns with the least penalised log-loss, shape (columns,).

    Args:
        columns: Shape (n, columns).
        wrong: What they are to tell, shape (n,).
        rows: The weight of each row, shape (n,), summing to 1.
        penalty: On half the square of each weight, shape (columns,).
        first: Where to begin, shape (columns,).
        bounds: The least and the highest weights.

    """
    with needs_extra("eval"):
        from scipy.optimize import Bounds, minimize
        from scipy.special import expit

    sign = np.where(wrong, 1.0, -1.0)

    def loss(point: Floats) -> tuple[float, Floats]:
        margin = sign * (columns @ point)
        slope = -sign * rows * expit(-margin)
        value = rows @ np.logaddexp(0, -margin) + point @ (penalty * point) / 2
        return float(value), columns.T @ slope + penalty * point

    low, high = bounds
    options = {"maxiter": 1000}
    found = minimize(
        loss, first, jac=True, method="L-BFGS-B", bounds=Bounds(low, high), options=options
    )
    return np.asarray(found.x)


_FACTORS: Final = (0.1, 10.0)
_TINY: Final = 1e-6
"""A penalty on intercepts: a task without weight has no optimum."""


def stack(
    names: Sequence[str], rows: Sequence[Floats], *, wrong: Sequence[bool], tasks: Sequence[str]
) -> Examples:
    """Put the features of single answers together."""
    return Examples(tuple(names), np.array(rows), np.array(wrong, bool), np.array(tasks, str))


def pooled(wrong: Sequence[bool], tasks: Sequence[str]) -> list[str]:
    """Return the tasks, those too small to be learnt from one by one put together as one task.

    Too small: with fewer right or fewer wrong answers than folds, so that some fold has nothing
    of it to tell apart. What was asked under many names is learnt from all the same.
    """
    counts = Counter(zip(tasks, wrong, strict=True))
    small = {t for t in tasks if min(counts[t, True], counts[t, False]) < FOLDS}
    return [_OTHER if task in small and len(small) > 1 else task for task in tasks]


_OTHER: Final = "other tasks"
