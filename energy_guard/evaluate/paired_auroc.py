"""AUROC of many risks of the same answers at once, compared on the same resamples.

The numbers are those of `ranking.auroc`. Drawn once for all, a hundred risks take a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from energy_guard.energy import Bools, Floats, Ints
from energy_guard.estimates.bootstrap import Sample
from energy_guard.estimates.estimate import Estimate, Measured, NotDefined
from energy_guard.estimates.ranking import OF_EACH
from energy_guard.evaluate.folds import CrossFitted, above
from energy_guard.evaluate.task_arrays import PARTS, SINGLES
from energy_guard.policy import DEFAULT_DETECTOR

CONFIDENCE: Final = 0.95

Floats32 = npt.NDArray[np.float32]
Risk = Floats | CrossFitted
"""Of shape (n,), or one for each division into folds, compared within folds alone."""


@dataclass(frozen=True, eq=False)
class Aurocs:
    """The AUROC of each risk by its name, with that of every resample, shape (draws,).

    missing: risks that some answers lack, and why there is no AUROC. rarer: answers of the rarer
    class.
    """

    n: int
    rarer: int
    values: Mapping[str, float]
    draws: Mapping[str, Floats]
    missing: Mapping[str, str]

    def measured(self, name: str) -> Measured:
        """Return the AUROC of one risk with its interval."""
        return mean_auroc([self], name)


def aurocs(risks: Mapping[str, Risk], wrong: Bools) -> Aurocs:
    """Rank the same n answers by every risk; there must be right and wrong ones.

    Resamples keep the number of each class. A risk with a gap has no AUROC.
    """
    missing = {
        name: f"{gaps} of {len(wrong)} answers have no such number"
        for name, risk in risks.items()
        if (gaps := _gaps(risk))
    }
    whole = {name: risk for name, risk in risks.items() if name not in missing}
    pairs = [_pairs(risk, wrong) for risk in whole.values()]
    bad, good = np.flatnonzero(wrong), np.flatnonzero(~wrong)

    def statistic(counts: Ints) -> Floats:
        left = counts[:, bad].astype(np.float32)
        right = counts[:, good].astype(np.float32)

        def total(of: Floats32) -> Floats:
            return np.asarray(np.einsum("ij,ij->i", left @ of, right, dtype=np.float64))

        every = np.full(len(counts), len(bad) * len(good))  # each class is drawn whole
        found = [
            total(won) / (every if compared is None else total(compared)) for won, compared in pairs
        ]
        return np.array(found).reshape(len(pairs), len(counts)).T

    once = statistic(np.ones((1, len(wrong)), dtype=np.int64))[0]
    draws = Sample(statistic, len(wrong), wrong).resampled((0, 0))
    return Aurocs(
        n=len(wrong),
        rarer=min(len(bad), len(good)),
        values=dict(zip(whole, once.tolist(), strict=True)),
        draws=dict(zip(whole, draws.T, strict=True)),
        missing=missing,
    )


def mean_auroc(tasks: Sequence[Aurocs], name: str, *, other: str | None = None) -> Measured:
    """Return the mean over tasks of a risk's AUROC, or of how much it is above that of another."""
    n = sum(task.n for task in tasks)
    if not tasks:
        return NotDefined("there is no task with enough answers of each class", 0)
    for task in tasks:
        for wanted in (name, other):
            if wanted is not None and wanted not in task.values:
                return NotDefined(task.missing.get(wanted, "not measured for every task"), n)
    value = float(np.mean([_difference(task.values, name, other) for task in tasks]))
    draws = np.mean([_difference(task.draws, name, other) for task in tasks], axis=0)
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    fewest = min(task.rarer for task in tasks)
    note = f"only {fewest} answers of the rarer class: the interval is too narrow below {OF_EACH}"
    return Estimate(value, low, high, n, CONFIDENCE, note if fewest < OF_EACH else "")


Number = TypeVar("Number", float, Floats)


def _difference(of: Mapping[str, Number], name: str, other: str | None) -> Number:
    return of[name] if other is None else of[name] - of[other]


def _gaps(risk: Risk) -> int:
    scores = risk.once if isinstance(risk, CrossFitted) else risk
    return int((~np.isfinite(scores)).sum())


def _pairs(risk: Risk, wrong: Bools) -> tuple[Floats32, Floats32 | None]:
    """How often a wrong answer is above a right one, and how often compared; None: all once."""
    if isinstance(risk, CrossFitted):
        won, compared = risk.won(wrong)
        return won.astype(np.float32), compared.astype(np.float32)
    return above(risk, wrong).astype(np.float32), None


USUAL: Final = f"span.{DEFAULT_DETECTOR}"
"""What the guard goes by if nothing was fitted."""

CHOSEN: Final = "the single signal chosen on the other tasks"


def best_singles(rankings: Sequence[Aurocs]) -> list[str]:
    """Return the single signals with the best mean AUROC, of the span and of the whole answer.

    Chosen on these very answers, which flatters them; nll:max if there are no means.
    """
    return [_best(rankings, (part,)) or f"{part}.nll:max" for part in PARTS]


def with_chosen(rankings: Sequence[Aurocs]) -> list[Aurocs]:
    """Add `CHOSEN` to each task: the single signal that is best on the others.

    No answer of a task had a part in choosing for it, so nothing flatters it.
    """
    added = []
    for ranking in rankings:
        name = _best([other for other in rankings if other is not ranking], PARTS)
        if name is None or name not in ranking.values:
            return list(rankings)
        values, draws = ranking.values, ranking.draws
        values, draws = {**values, CHOSEN: values[name]}, {**draws, CHOSEN: draws[name]}
        added.append(replace(ranking, values=values, draws=draws))
    return added


def _best(rankings: Sequence[Aurocs], parts: Sequence[str]) -> str | None:
    """The name with the best mean AUROC; None if none was measured for all."""
    names = [f"{part}.{single}" for part in parts for single in SINGLES]
    shared = [name for name in names if all(name in ranking.values for ranking in rankings)]
    if not rankings or not shared:
        return None
    return max(shared, key=lambda name: sum(ranking.values[name] for ranking in rankings))
