"""FoundNeurons H-neurons: an L1 fit to contributions of answers that were all right or all wrong.

The penalty (C of liblinear) is chosen on questions that the fit has not seen, and the probe is
judged on questions that neither has seen. Contributions are weighed as they are, all by one scale:
a neuron that contributes much needs little weight, as in Gao et al.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from energy_guard.backends.base import ModelInfo
from energy_guard.energy import Bools, Floats, Ints
from energy_guard.errors import InputError
from energy_guard.estimates.estimate import Measured, proportion
from energy_guard.estimates.ranking import auroc
from energy_guard.extras import needs_extra
from energy_guard.neurons.contributions import Contributions, Float32s
from energy_guard.neurons.probe import Labelling, NeuronProbe, ProbeTraining, WeighedNeuron

FEWEST: Final = 20
"""Questions of the rarer class that finding neurons needs at the least; fitting alone, half."""

RANDOM_DRAWS: Final = 10
"""Sets of random neurons that a probe is compared with."""

FOLDS: Final = 5
"""Parts of the questions: one is kept for judging; the fit divides the others once more."""

STEPS: Final = (1.5, 3.0, 6.0, 12.0, 25.0, 50.0, 100.0)
"""Candidates for C, as multiples of the smallest one that gives any neuron a weight."""


_WORKING: Final = 2000
"""Neurons that liblinear gets at first, and how many more at once."""

_TOLERANCE: Final = 0.01
"""By how much a slope may be above the penalty's, as a share of it: liblinear's is no finer."""


@dataclass(frozen=True, eq=False)
class LabelledContributions:
    """Contributions to answers that are known to be right or wrong.

    exact: shape (n, layers * neurons), a layer after the other. rest: the same of the other tokens;
    rows of NaN for answers that have none. wrong: shape (n,). questions: what answers to the same
    question share, shape (n,). shape: layers, and neurons of each.
    """

    exact: Float32s
    rest: Float32s
    wrong: Bools
    questions: npt.NDArray[np.str_]
    shape: tuple[int, int]

    @classmethod
    def of(
        cls, contributions: Sequence[Contributions], wrong: Sequence[bool], questions: Sequence[str]
    ) -> Self:
        """Put the contributions of single answers together.

        Raises:
            InputError: There are none, or not as many labels or questions as answers.

        """
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
            (layers, width),
        )

    def part(self, keep: Ints) -> Self:
        """Return some of the answers."""
        return type(self)(
            self.exact[keep], self.rest[keep], self.wrong[keep], self.questions[keep], self.shape
        )

    def rows(self, labelling: Labelling) -> tuple[Float32s, Bools]:
        """Return what a labelling tells apart: values (rows, neurons), and which are to be found.

        The first n rows are the exact answers.
        """
        if labelling == "1-vs-1":
            return self.exact, self.wrong
        has = np.isfinite(self.rest[:, 0])
        values = np.concatenate([self.exact, self.rest[has]])
        return values, np.concatenate([self.wrong, np.zeros(int(has.sum()), bool)])


@dataclass(frozen=True, slots=True)
class Judged:
    """How well a probe tells wrong from right answers to questions that it has not seen."""

    accuracy: Measured
    auroc: Measured


@dataclass(frozen=True, slots=True)
class FoundNeurons:
    """A probe beside probes of as many random neurons, on the same held-out answers.

    held: which answers these are, by their place in what was given.
    """

    probe: NeuronProbe
    held: tuple[int, ...]
    judged: Judged
    random: tuple[Judged, ...]


def find_neurons(
    rows: LabelledContributions, info: ModelInfo, *, labelling: Labelling, seed: int = 0
) -> FoundNeurons:
    """Fit a probe to some questions and judge it on the others.

    Args:
        rows: Labelled answers of this model.
        info: Which model that is.
        labelling: What the probe is fitted to tell apart; it is judged on exact answers either way.
        seed: Of the division into parts and of the random neurons.

    Raises:
        InputError: There are no right or no wrong answers, or too few questions of a class.
        MissingExtraError: scikit-learn or scipy is not installed.

    """
    _check(rows, FEWEST)
    fitting, held = next(iter(_divided(rows, seed, FOLDS)))
    seen, unseen = rows.part(fitting), rows.part(held)
    search = _Search(seen, labelling, seed)
    probe = search.probe(info)
    chosen = [neuron.layer * rows.shape[1] + neuron.index for neuron in probe.neurons]
    others = np.setdiff1d(np.arange(rows.exact.shape[1]), chosen)
    random = np.random.default_rng(seed)
    draws = [
        random.choice(others, size=min(len(chosen), len(others)), replace=False)
        for _ in range(RANDOM_DRAWS)
    ]
    return FoundNeurons(
        probe,
        tuple(held.tolist()),
        _judged(_log_odds(probe, unseen), unseen.wrong),
        tuple(_judged(search.fit(d).log_odds(unseen.exact), unseen.wrong) for d in draws),
    )


def fit_probe(
    rows: LabelledContributions, info: ModelInfo, *, labelling: Labelling, seed: int = 0
) -> NeuronProbe:
    """Fit a probe to all of these answers; see `find_neurons`."""
    return _Search(rows, labelling, seed).probe(info)


@dataclass(frozen=True)
class _Fit:
    """Weights of some neurons' contributions, and how they were come by.

    columns: which neurons, counted through all layers. accuracy: mean over the folds.
    """

    columns: Ints
    weights: Floats
    intercept: float
    c: float
    accuracy: float = 0.0

    def log_odds(self, exact: Float32s) -> Floats:
        """Return the log-odds of "wrong", shape (n,), for values of all neurons."""
        return np.asarray(exact[:, self.columns] @ self.weights + self.intercept)


class _Search:
    """Fits neurons to the same answers, divided into the same folds."""

    def __init__(self, rows: LabelledContributions, labelling: Labelling, seed: int) -> None:
        _check(rows, FEWEST // 2)
        self._rows = rows
        self._labelling = labelling
        self._seed = seed
        self._folds = _divided(rows, seed, FOLDS - 1)

    def fit(self, columns: Ints) -> _Fit:
        """Choose C by the accuracy on questions that are left out, and fit to all of them.

        At equal accuracy the strongest penalty is taken: it leaves the fewest neurons.
        """
        rows = self._rows
        accuracy = np.zeros(len(STEPS))
        for fitting, held in self._folds:
            data = _Scaled(*rows.part(fitting).rows(self._labelling), columns, self._seed)
            for i, step in enumerate(STEPS):
                risk = data.fit(step).log_odds(rows.exact[held])
                accuracy[i] += np.mean((risk > 0) == rows.wrong[held]) / len(self._folds)
        data = _Scaled(*rows.rows(self._labelling), columns, self._seed)
        best = int(accuracy.argmax())
        return replace(data.fit(STEPS[best]), accuracy=float(accuracy[best]))

    def probe(self, info: ModelInfo) -> NeuronProbe:
        """Fit to all neurons, and keep those with a weight."""
        rows = self._rows
        fit = self.fit(np.arange(rows.exact.shape[1]))
        if not fit.weights.any():
            raise InputError(
                f"every neuron contributes the same to all {len(rows.wrong)} answers",
                "Check that contributions and answers belong together.",
            )
        weighed = [(int(at), float(fit.weights[at])) for at in np.flatnonzero(fit.weights)]
        return NeuronProbe(
            model=info.fingerprint,
            backend=info.backend,
            shape=rows.shape,
            neurons=tuple(
                WeighedNeuron(layer=at // rows.shape[1], index=at % rows.shape[1], weight=weight)
                for at, weight in weighed
            ),
            intercept=fit.intercept,
            training=ProbeTraining(
                labelling=self._labelling,
                n=len(rows.wrong),
                n_wrong=int(rows.wrong.sum()),
                questions=len(set(rows.questions.tolist())),
                c=fit.c,
                accuracy=fit.accuracy,
            ),
        )


class _Scaled:
    """Rows as liblinear gets them: centred, so that the intercept is little penalised, and divided
    by one number for all neurons, so that its tolerance fits any model.

    liblinear takes 32 bytes for each number, so it gets a working set of neurons: the others have
    no weight, and every one of them is checked to have none by the slope of its loss.
    """

    def __init__(self, values: Float32s, wrong: Bools, columns: Ints, seed: int) -> None:
        self._columns = columns
        self._wrong = wrong
        self._seed = seed
        picked = values[:, columns]
        self._centre = picked.mean(axis=0, dtype=np.float64)
        picked -= self._centre.astype(np.float32)
        self._scale = float(picked.std(dtype=np.float64)) or 1.0
        picked /= self._scale
        self._values = picked
        # Classes count alike. Without any weight the loss has half these slopes; the penalty's is
        # 1. (scikit-learn's l1_min_c knows nothing of the classes' weights.)
        self._sides = np.where(wrong, 0.5 / wrong.mean(), -0.5 / (~wrong).mean())
        slopes = self._slopes(np.zeros(len(wrong)))
        self._least = 1 / slopes.max() if slopes.max() else None
        self._working = np.sort(np.argsort(slopes)[-_WORKING:])

    def fit(self, step: float) -> _Fit:
        """Fit with this multiple of the least C, and undo centring and scale."""
        with needs_extra("eval"):
            from sklearn.linear_model import LogisticRegression

        weights = np.zeros(len(self._columns))
        if self._least is None:
            return _Fit(self._columns, weights, intercept=0.0, c=step)
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
        return _Fit(self._columns, weights, intercept, c)

    def _slopes(self, log_odds: Floats) -> Floats:
        """By how much the loss would fall with each weight, at log-odds of the rows."""
        margin = np.where(self._wrong, log_odds, -log_odds)
        pull = self._sides * (1 - np.tanh(margin / 2)) / 2
        return np.asarray(np.abs(pull.astype(np.float32) @ self._values), dtype=np.float64)


def _divided(rows: LabelledContributions, seed: int, parts: int) -> list[tuple[Ints, Ints]]:
    """Return indices to fit to and to hold out: no question is in both, both classes are."""
    with needs_extra("eval"):
        from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    return list(folds.split(np.zeros(len(rows.wrong)), rows.wrong, rows.questions))


def _check(rows: LabelledContributions, fewest: int) -> None:
    """Refuse answers of one class, and too few questions of a class."""
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


def _log_odds(probe: NeuronProbe, rows: LabelledContributions) -> Floats:
    return np.array(
        [probe.log_odds(Contributions(values.reshape(rows.shape), None)) for values in rows.exact]
    )


def _judged(risk: Floats, wrong: Bools) -> Judged:
    right_side = int(((risk > 0) == wrong).sum())
    return Judged(proportion(right_side, len(wrong)), auroc(risk, wrong))
