"""A logistic fit to contributions of answers that are known to be right or wrong.

The penalty (C of liblinear) is chosen on questions that the fit has not seen. Contributions are
weighed as they are, all by one scale: a neuron that contributes much needs little weight, as in Gao
et al.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from energy_guard.backends.base import ModelInfo
from energy_guard.energy import Bools, Floats, Ints
from energy_guard.errors import InputError
from energy_guard.extras import needs_extra
from energy_guard.neurons.contributions import Contributions, Float32s
from energy_guard.neurons.probe import Labelling, NeuronProbe, ProbeTraining, WeighedNeuron

FEWEST: Final = 20
"""Questions of the rarer class that finding neurons needs at the least; fitting alone, half."""

FOLDS: Final = 4
"""Parts of the questions, each of which is left out once while C is chosen."""

STEPS: Final = (1.5, 3.0, 6.0, 12.0, 25.0, 50.0, 100.0)
"""Candidates for C, as multiples of the smallest one that gives any neuron a weight."""

DENSE_STEPS: Final = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Candidates for C of an L2 penalty, for rows whose mean square length is 1."""

_WORKING: Final = 2000
"""Neurons that liblinear gets at first, and how many more at once."""

_TOLERANCE: Final = 0.01
"""By how much a slope may be above the penalty's, as a share of it: liblinear's is no finer."""


@dataclass(frozen=True, eq=False)
class LabelledContributions:
    """Contributions to answers that are known to be right or wrong.

    exact: shape (n, layers * neurons), a layer after the other. rest: the same of the other tokens;
    rows of NaN for answers that have none. wrong: shape (n,). questions: what answers to the same
    question share, shape (n,). tasks: what each is of, shape (n,). shape: layers, and neurons of
    each.
    """

    exact: Float32s
    rest: Float32s
    wrong: Bools
    questions: npt.NDArray[np.str_]
    tasks: npt.NDArray[np.str_]
    shape: tuple[int, int]

    @classmethod
    def of(
        cls,
        contributions: Sequence[Contributions],
        wrong: Sequence[bool],
        questions: Sequence[str],
        tasks: Sequence[str] = (),
    ) -> Self:
        """Put the contributions of single answers together; without tasks, all are of one.

        Raises:
            InputError: There are none, or not as many labels or questions as answers.

        """
        tasks = tasks or [""] * len(questions)
        if not contributions or not len(contributions) == len(wrong) == len(questions):
            raise InputError(
                f"there are {len(contributions)} contributions, {len(wrong)} labels and "
                f"{len(questions)} questions",
                "Give one of each for every answer.",
            )
        layers, width = contributions[0].exact.shape
        nothing = np.full((layers, width), np.nan, np.float32)
        rest = [nothing if each.rest is None else each.rest for each in contributions]
        return cls(
            np.stack([each.exact.ravel() for each in contributions]),
            np.stack([values.ravel() for values in rest]),
            np.array(wrong, bool),
            np.array(questions, str),
            np.array(tasks, str),
            (layers, width),
        )

    def part(self, keep: Ints) -> Self:
        """Return some of the answers."""
        return type(self)(
            self.exact[keep],
            self.rest[keep],
            self.wrong[keep],
            self.questions[keep],
            self.tasks[keep],
            self.shape,
        )

    def only(self, columns: Ints) -> Self:
        """Return the same answers with some neurons' contributions alone."""
        return replace(self, exact=self.exact[:, columns], rest=self.rest[:, columns])

    def rows(self, labelling: Labelling) -> tuple[Float32s, Bools]:
        """Return what a labelling tells apart: values (rows, neurons), and which are to be found.

        The first n rows are the exact answers.
        """
        if labelling == "1-vs-1":
            return self.exact, self.wrong
        has = np.isfinite(self.rest[:, 0])
        values = np.concatenate([self.exact, self.rest[has]])
        return values, np.concatenate([self.wrong, np.zeros(int(has.sum()), bool)])


def fit_probe(
    rows: LabelledContributions, info: ModelInfo, *, labelling: Labelling, seed: int = 0
) -> NeuronProbe:
    """Fit a probe to all of these answers.

    Args:
        rows: Labelled answers of this model.
        info: Which model that is.
        labelling: What the probe is fitted to tell apart.
        seed: Of the division into parts.

    Raises:
        InputError: There are no right or no wrong answers, or too few questions of a class.
        MissingExtraError: scikit-learn is not installed.

    """
    return Search(rows, labelling, seed).sparse().probe(rows, info, labelling)


@dataclass(frozen=True, eq=False)
class Fit:
    """Weights of some neurons' contributions, and how they were come by.

    columns: which neurons, counted through all layers. accuracy, left_out: by fits with this
    penalty to the other folds: the mean accuracy, and the log-odds of each answer, shape (n,).
    """

    columns: Ints
    weights: Floats
    intercept: float
    c: float
    accuracy: float = 0.0
    left_out: Floats | None = None

    def log_odds(self, exact: Float32s) -> Floats:
        """Return the log-odds of "wrong", shape (n,), for values of all neurons."""
        kept = np.flatnonzero(self.weights)
        return np.asarray(exact[:, self.columns[kept]] @ self.weights[kept] + self.intercept)

    @property
    def weighed(self) -> Ints:
        """The neurons with a weight."""
        return self.columns[np.flatnonzero(self.weights)]

    def probe(
        self, rows: LabelledContributions, info: ModelInfo, labelling: Labelling
    ) -> NeuronProbe:
        """Return the probe that this is, of the rows that it was fitted to.

        Raises:
            InputError: No neuron has a weight.

        """
        if not self.weights.any():
            raise InputError(
                f"every neuron contributes the same to all {len(rows.wrong)} answers",
                "Check that contributions and answers belong together.",
            )
        width = rows.shape[1]
        weights = self.weights[np.flatnonzero(self.weights)].tolist()
        return NeuronProbe(
            model=info.fingerprint,
            backend=info.backend,
            shape=rows.shape,
            neurons=tuple(
                WeighedNeuron(layer=at // width, index=at % width, weight=weight)
                for at, weight in zip(self.weighed.tolist(), weights, strict=True)
            ),
            intercept=self.intercept,
            training=ProbeTraining(
                labelling=labelling,
                n=len(rows.wrong),
                n_wrong=int(rows.wrong.sum()),
                questions=len(set(rows.questions.tolist())),
                c=self.c,
                accuracy=self.accuracy,
            ),
        )


class _Penalised(Protocol):
    """Rows that are ready to be fitted to; step: of a grid of penalties, larger is weaker."""

    def fit(self, step: float) -> Fit: ...


class Search:
    """Fits neurons to the same answers, divided into the same folds.

    Raises:
        InputError: There are no right or no wrong answers, or too few questions of a class.

    """

    def __init__(self, rows: LabelledContributions, labelling: Labelling, seed: int) -> None:
        check_classes(rows, FEWEST // 2)
        self._rows = rows
        self._labelling = labelling
        self._seed = seed
        self._folds = divided(rows, seed, FOLDS)

    def sparse(self, columns: Ints | None = None) -> Fit:
        """Fit with an L1 penalty; columns: which neurons, all unless given."""
        rows = self._rows if columns is None else self._rows.only(columns)
        found = self._chosen(rows, STEPS, lambda v, wrong: _Scaled(v, wrong, self._seed))
        return found if columns is None else replace(found, columns=columns)

    def dense(self) -> Fit:
        """Fit all neurons with an L2 penalty: each has a weight."""
        return self._chosen(self._rows, DENSE_STEPS, _Dense)

    def _chosen(
        self,
        rows: LabelledContributions,
        steps: Sequence[float],
        ready: Callable[[Float32s, Bools], _Penalised],
    ) -> Fit:
        """Choose C by the accuracy on questions that are left out, and fit to all of them.

        At equal accuracy the strongest penalty is taken: it leaves the fewest neurons.
        """
        left_out = np.empty((len(steps), len(rows.wrong)))
        for fitting, held in self._folds:
            data = ready(*rows.part(fitting).rows(self._labelling))
            for i, step in enumerate(steps):
                left_out[i, held] = data.fit(step).log_odds(rows.exact[held])
        hits = (left_out > 0) == rows.wrong
        accuracy = np.mean([hits[:, held].mean(axis=1) for _, held in self._folds], axis=0)
        best = int(accuracy.argmax())
        return replace(
            ready(*rows.rows(self._labelling)).fit(steps[best]),
            accuracy=float(accuracy[best]),
            left_out=left_out[best],
        )


class _Scaled:
    """Rows as liblinear gets them: centred, so that the intercept is little penalised, and divided
    by one number for all neurons, so that its tolerance fits any model.

    liblinear takes 32 bytes for each number, so it gets a working set of neurons: the others have
    no weight, and every one of them is checked to have none by the slope of its loss.
    """

    def __init__(self, values: Float32s, wrong: Bools, seed: int) -> None:
        self._columns = np.arange(values.shape[1])
        self._wrong = wrong
        self._seed = seed
        self._centre = values.mean(axis=0, dtype=np.float64)
        self._values = values - self._centre.astype(np.float32)
        self._scale = float(self._values.std(dtype=np.float64)) or 1.0
        self._values /= np.float32(self._scale)
        # Classes count alike. Without any weight the loss has half these slopes; the penalty's is
        # 1. (scikit-learn's l1_min_c knows nothing of the classes' weights.)
        self._sides = np.where(wrong, 0.5 / wrong.mean(), -0.5 / (~wrong).mean())
        slopes = self._slopes(np.zeros(len(wrong)))
        self._least = 1 / slopes.max() if slopes.max() else None
        self._working = np.sort(np.argsort(slopes)[-_WORKING:])

    def fit(self, step: float) -> Fit:
        """Fit with this multiple of the least C, and undo centring and scale."""
        with needs_extra("eval"):
            from sklearn.linear_model import LogisticRegression

        weights = np.zeros(len(self._columns))
        if self._least is None:
            return Fit(self._columns, weights, intercept=0.0, c=step)
        c = float(step * self._least)
        model = LogisticRegression(
            l1_ratio=1.0,
            C=c,
            solver="liblinear",
            class_weight="balanced",
            max_iter=1000,
            random_state=self._seed,
        )
        missing = self._working
        while len(missing):
            self._working = np.union1d(self._working, missing)
            model.fit(self._values[:, self._working], self._wrong)
            weights = np.zeros(len(self._columns))
            weights[self._working] = model.coef_[0]
            slopes = self._slopes(model.decision_function(self._values[:, self._working]))
            slopes[self._working] = 0
            missing = np.flatnonzero(slopes * c > 1 + _TOLERANCE)
            missing = missing[np.argsort(slopes[missing])[-_WORKING:]]
        weights /= self._scale
        intercept = float(model.intercept_[0]) - float(self._centre @ weights)
        return Fit(self._columns, weights, intercept, c)

    def _slopes(self, log_odds: Floats) -> Floats:
        """By how much the loss would fall with each weight, at log-odds of the rows."""
        margin = np.where(self._wrong, log_odds, -log_odds)
        pull = self._sides * (1 - np.tanh(margin / 2)) / 2
        return np.asarray(np.abs(pull.astype(np.float32) @ self._values), dtype=np.float64)


class _Dense:
    """Rows for an L2 penalty, centred, of mean square length 1.

    The weights are a combination of the rows, so the fit needs the rows' products alone, and not
    a column for each neuron.
    """

    def __init__(self, values: Float32s, wrong: Bools) -> None:
        self._wrong = wrong
        self._centre = values.mean(axis=0, dtype=np.float64)
        centred = values - self._centre.astype(np.float32)
        products = (centred @ centred.T).astype(np.float64)
        self._scale = float(np.sqrt(np.trace(products) / len(wrong))) or 1.0
        self._values = centred / np.float32(self._scale)
        lengths, directions = np.linalg.eigh(products / self._scale**2)
        kept = lengths > lengths[-1] * 1e-6
        self._lengths, self._directions = np.sqrt(lengths[kept]), directions[:, kept]

    def fit(self, step: float) -> Fit:
        """Fit with this C, and undo centring and scale."""
        with needs_extra("eval"):
            from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=step, class_weight="balanced", max_iter=1000)
        model.fit(self._directions * self._lengths, self._wrong)
        of_rows = self._directions @ (model.coef_[0] / self._lengths)
        weights = (of_rows.astype(np.float32) @ self._values).astype(np.float64) / self._scale
        intercept = float(model.intercept_[0]) - float(self._centre @ weights)
        return Fit(np.arange(len(weights)), weights, intercept, step)


def by_scores(seen: Floats, wrong: Bools, new: Floats) -> Floats:
    """Return the log-odds of "wrong" by a few scores, fitted to answers with these labels.

    Args:
        seen: Scores of those that are fitted to, shape (n, scores); rows with a gap are left out.
        wrong: Which of them are wrong, shape (n,).
        new: Scores of those that are told, shape (m, scores).

    Returns:
        Of these, shape (m,); NaN for a row with a gap.

    """
    with needs_extra("eval"):
        from sklearn.linear_model import LogisticRegression

    known, told = np.isfinite(seen).all(axis=1), np.isfinite(new).all(axis=1)
    found = np.full(len(new), np.nan)
    if len(set(wrong[known].tolist())) == 2 and told.any():
        centre, scale = seen[known].mean(axis=0), seen[known].std(axis=0) + 1e-12
        model = LogisticRegression(class_weight="balanced")
        model.fit((seen[known] - centre) / scale, wrong[known])
        found[told] = model.decision_function((new[told] - centre) / scale)
    return found


def divided(rows: LabelledContributions, seed: int, parts: int) -> list[tuple[Ints, Ints]]:
    """Return indices to fit to and to hold out: no question is in both, both classes are."""
    with needs_extra("eval"):
        from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    return list(folds.split(np.zeros(len(rows.wrong)), rows.wrong, rows.questions))


def check_classes(rows: LabelledContributions, fewest: int) -> None:
    """Raise InputError for answers of one class, for too few questions of a class, and for gaps."""
    wrong = len(set(rows.questions[rows.wrong].tolist()))
    right = len(set(rows.questions[~rows.wrong].tolist()))
    if min(wrong, right) < fewest:
        raise InputError(
            f"there are {right} questions with right and {wrong} with wrong answers, and at least "
            f"{fewest} of each are needed",
            "Add questions that are easier or harder for this model.",
        )
    if not np.isfinite(rows.exact).all():
        raise InputError("a contribution is missing", "Leave out answers that were not read.")
