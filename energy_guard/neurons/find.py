"""Finding H-neurons: a probe, and how well it tells answers that it has not seen.

Every answer is told by a probe that was fitted without its question, and once more by one that was
fitted without its task; the probe that is kept is fitted to all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from energy_guard.backends.base import ModelInfo
from energy_guard.energy import Floats, Ints
from energy_guard.neurons.fit import (
    FEWEST,
    LabelledContributions,
    Search,
    by_scores,
    check_classes,
    divided,
)
from energy_guard.neurons.probe import Labelling, NeuronProbe

RANDOM_DRAWS: Final = 10
"""Sets of random neurons that a probe is compared with."""

PARTS: Final = 5
"""Into how many the questions are divided, each to be told without it."""

PROBE: Final = "probe"
DENSE: Final = "all neurons, L2"
TOGETHER: Final = "both tiers together"


@dataclass(frozen=True, eq=False)
class CrossTold:
    """Log-odds of "wrong" of n answers, by fits that have not seen their fold.

    folds: shape (n,). risks: by name, each of shape (n,); NaN for an answer that lacks a score from
    outside. random: of probes of as many random neurons.
    """

    folds: Ints
    risks: Mapping[str, Floats]
    random: tuple[Floats, ...]


@dataclass(frozen=True, eq=False)
class FoundNeurons:
    """A probe, fitted to all answers, and how answers are told without it having seen them.

    by_question: folds are of questions. by_task: a task each; None if there is one task, or if the
    others of one are too few.
    """

    probe: NeuronProbe
    by_question: CrossTold
    by_task: CrossTold | None


def find_neurons(
    rows: LabelledContributions,
    info: ModelInfo,
    *,
    labelling: Labelling,
    outside: Mapping[str, Floats] | None = None,
    tier: str | None = None,
    seed: int = 0,
) -> FoundNeurons:
    """Fit a probe to these answers, and tell each by what was fitted to others.

    Beside the probe stand as many random neurons (as have a weight), all neurons with an L2
    penalty, and each score from outside with a threshold that is fitted to the same answers as the
    probe.

    Args:
        rows: Labelled answers of this model.
        info: Which model that is.
        labelling: What probes are fitted to tell apart; they are judged on exact answers either
            way.
        outside: Scores of the same answers that need no look inside, growing with risk, by name.
        tier: The one of them that is put together with the probe.
        seed: Of the division into parts and of the random neurons.

    Raises:
        InputError: There are no right or no wrong answers, or too few questions of a class.
        MissingExtraError: scikit-learn is not installed.

    """
    check_classes(rows, FEWEST)
    probe = Search(rows, labelling, seed).sparse().probe(rows, info, labelling)
    telling = _Telling(rows, labelling, outside or {}, tier, seed)
    held = [held for _, held in divided(rows, seed, PARTS)]
    return FoundNeurons(
        probe, telling.told(held), telling.told(tasks) if (tasks := _tasks(rows)) else None
    )


def _tasks(rows: LabelledContributions) -> list[Ints]:
    """The answers of each task; none if they cannot be told by the others."""
    names = np.unique(rows.tasks)
    parts = [np.flatnonzero(rows.tasks == name) for name in names]
    for part in parts:
        others = np.setdiff1d(np.arange(len(rows.wrong)), part)
        wrong = int(rows.wrong[others].sum())
        if min(wrong, len(others) - wrong) < FEWEST // 2:  # as many as a fit alone needs
            return []
    return parts


@dataclass(frozen=True, eq=False)
class _Telling:
    """Fits all that is compared to some answers, and tells the others by it."""

    rows: LabelledContributions
    labelling: Labelling
    outside: Mapping[str, Floats]
    tier: str | None
    seed: int

    def told(self, parts: Sequence[Ints]) -> CrossTold:
        """Tell each part by fits to the others."""
        n = len(self.rows.wrong)
        names = [PROBE, DENSE, *self.outside, *([TOGETHER] if self.tier else [])]
        folds = np.zeros(n, dtype=np.int64)
        risks = {name: np.full(n, np.nan) for name in names}
        random = np.full((RANDOM_DRAWS, n), np.nan)
        for number, held in enumerate(parts):
            folds[held] = number
            self._tell(held, risks, random)
        return CrossTold(folds, risks, tuple(random))

    def _tell(self, held: Ints, risks: Mapping[str, Floats], random: Floats) -> None:
        """Fill in one part."""
        fitting = np.setdiff1d(np.arange(len(self.rows.wrong)), held)
        seen, exact = self.rows.part(fitting), self.rows.exact[held]
        search = Search(seen, self.labelling, self.seed)
        probe = search.sparse()
        risks[PROBE][held] = probe.log_odds(exact)
        risks[DENSE][held] = search.dense().log_odds(exact)
        others = np.setdiff1d(np.arange(exact.shape[1]), probe.weighed)
        draw = np.random.default_rng(self.seed)
        for risk in random:
            chosen = draw.choice(others, min(len(probe.weighed), len(others)), replace=False)
            risk[held] = search.sparse(chosen).log_odds(exact)
        for name, scores in self.outside.items():
            risks[name][held] = by_scores(scores[fitting, None], seen.wrong, scores[held, None])
        if self.tier is not None and probe.left_out is not None:
            scores = self.outside[self.tier]
            both = np.column_stack([probe.left_out, scores[fitting]])
            new = np.column_stack([risks[PROBE][held], scores[held]])
            risks[TOGETHER][held] = by_scores(both, seen.wrong, new)
