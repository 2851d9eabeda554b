"""What answering earns when errors cost: confidence targets (Kalai et al. 2025).

At target t a right answer earns 1, not answering 0, a wrong answer −t/(1−t). Answering pays
exactly when P(right) > t, so a guard with a calibrated P(wrong) answers where P(wrong) < 1 − t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from energy_guard.energy import Bools, Floats, Ints
from energy_guard.errors import InputError
from energy_guard.estimates.bootstrap import Sample, interval
from energy_guard.estimates.estimate import Measured, NotDefined, proportion

TARGETS: Final = (0.0, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Graded:
    """What became of n questions; every array has one entry a row.

    right, wrong: the grade of the answer; neither where the model itself declined, which earns
    nothing and costs nothing. answerable: False if there is no right answer, so that only
    declining or abstaining avoids an error. tasks: resamples keep each task as large as it is.
    """

    right: Bools
    wrong: Bools
    answerable: Bools | None = None
    tasks: npt.NDArray[np.generic] | None = None

    def __post_init__(self) -> None:
        columns = (self.right, self.wrong, self.answerable, self.tasks)
        if len({len(column) for column in columns if column is not None}) != 1:
            raise InputError("right, wrong, answerable and tasks need one entry for each row")
        if not len(self.right):
            raise InputError("there are no graded answers")
        if np.any(self.right & self.wrong):
            raise InputError("an answer is graded right and wrong at once")
        if self.answerable is not None and np.any(self.right & ~self.answerable):
            raise InputError("an answer to an unanswerable question is graded right")


@dataclass(frozen=True)
class TargetRow:
    """S_t of four ways to answer, and how the guard behaves at this target.

    S_t = (right − penalty · wrong) / n, with right and wrong counted among what is answered.
    always: every answer is shown. guard: those with P(wrong) < 1 − target. oracle: exactly the
    right ones. Never to answer earns 0. gain: guard − always on the same rows. share: guard /
    oracle. coverage: shown by the guard and not declined by the model. accuracy: right of those,
    which is at least the target where P(wrong) is calibrated. abstained_unanswerable: of the
    unanswerable rows, those without an answer.
    """

    target: float
    penalty: float
    always: Measured
    guard: Measured
    oracle: Measured
    gain: Measured
    share: Measured
    coverage: Measured
    accuracy: Measured
    abstained_unanswerable: Measured


def penalty(target: float) -> float:
    """Return what a wrong answer costs at a confidence target.

    >>> [round(penalty(t), 9) for t in (0, 0.5, 0.75, 0.9)]
    [0.0, 1.0, 3.0, 9.0]
    """
    if not 0 <= target < 1:
        raise InputError(f"a confidence target lies between 0 and 1, not at {target}")
    return target / (1 - target)


def target_score(
    graded: Graded, target: float, *, answered: Bools | None = None, confidence: float = 0.95
) -> Measured:
    """Return S_t of showing what is `answered`, everything unless given."""
    return _interval(graded, _points(graded, target, answered), confidence)


def target_table(
    graded: Graded,
    p_wrong: Floats,
    *,
    targets: Sequence[float] = TARGETS,
    confidence: float = 0.95,
) -> tuple[TargetRow, ...]:
    """Return a row for each target; p_wrong is NaN if the guard has none, and withholds."""
    if p_wrong.shape != graded.right.shape or np.any((p_wrong < 0) | (p_wrong > 1)):
        raise InputError("P(wrong) must lie between 0 and 1, or be NaN, once for each row")
    return tuple(_row(graded, p_wrong, target, confidence) for target in targets)


def _row(graded: Graded, p_wrong: Floats, target: float, confidence: float) -> TargetRow:
    answered = p_wrong < 1 - target
    always = _points(graded, target, None)
    guard = _points(graded, target, answered)
    oracle = graded.right.astype(np.float64)
    spoken = answered & (graded.right | graded.wrong)
    n_spoken, n_right = int(spoken.sum()), int((spoken & graded.right).sum())
    return TargetRow(
        target=target,
        penalty=penalty(target),
        always=_interval(graded, always, confidence),
        guard=_interval(graded, guard, confidence),
        oracle=_interval(graded, oracle, confidence),
        gain=_interval(graded, guard - always, confidence),
        share=_share(graded, guard, oracle, confidence),
        coverage=proportion(n_spoken, len(spoken), confidence=confidence),
        accuracy=proportion(n_right, n_spoken, confidence=confidence),
        abstained_unanswerable=_abstained(graded, spoken, confidence),
    )


def _points(graded: Graded, target: float, answered: Bools | None) -> Floats:
    """What each row earns."""
    earned = graded.right - penalty(target) * graded.wrong
    return np.asarray(earned if answered is None else np.where(answered, earned, 0.0))


def _interval(graded: Graded, points: Floats, confidence: float) -> Measured:
    def mean(counts: Ints) -> Floats:
        return np.asarray(counts @ points / counts.sum(axis=1), dtype=np.float64)

    return interval(Sample(mean, len(points), graded.tasks), confidence=confidence)


def _share(graded: Graded, guard: Floats, oracle: Floats, confidence: float) -> Measured:
    if not oracle.any():
        return NotDefined("no answer is right: the oracle earns nothing either", len(oracle))

    def share(counts: Ints) -> Floats:
        earned, possible = counts @ guard, counts @ oracle
        return np.where(possible > 0, earned / np.where(possible > 0, possible, 1), np.nan)

    return interval(Sample(share, len(oracle), graded.tasks), confidence=confidence)


def _abstained(graded: Graded, spoken: Bools, confidence: float) -> Measured:
    if graded.answerable is None or graded.answerable.all():
        return NotDefined("every question has an answer", 0)
    silent = ~spoken[~graded.answerable]
    return proportion(int(silent.sum()), len(silent), confidence=confidence)
