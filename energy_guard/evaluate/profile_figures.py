"""A stored profile on labelled answers, as it is: nothing is fitted here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from energy_guard.calibrate.make_profile import risk_of, shown_unscored
from energy_guard.energy import Bools, Floats
from energy_guard.estimates.calibration_quality import brier_skill, calibration_error
from energy_guard.estimates.estimate import proportion
from energy_guard.estimates.ranking import auroc
from energy_guard.evaluate.figures import measured
from energy_guard.evaluate.task_arrays import Task
from energy_guard.profile import Profile
from energy_guard.questions.wording import EACH_KIND, systems_of
from energy_guard.report.results import ProfileFigures, ProfileRow
from energy_guard.request import Sampling
from energy_guard.score import Score


def profile_figures(
    tasks: Sequence[Task], profile: Profile, *, wording: str = EACH_KIND
) -> ProfileFigures:
    """Return how a profile ranks, what its rule shows, and how right its P(wrong) is.

    For all tasks together and for each. certificates: what it promised about such answers.
    wording: how the questions were put, as a file of answers records it.
    """
    found = {task.name: _scores(task, profile) for task in tasks}
    risk, p_wrong, shown = (np.concatenate(each) for each in zip(*found.values(), strict=True))
    wrong = np.concatenate([task.wrong for task in tasks])
    right = np.concatenate([task.right for task in tasks])
    names = np.concatenate([np.full(len(task.wrong), task.name) for task in tasks])
    rows = {"all tasks": _figures(risk, p_wrong, shown, right, wrong, names)}
    rows |= {task.name: _figures(*found[task.name], task.right, task.wrong) for task in tasks}
    promise = profile.promise(profile.policy())
    return {
        "detector": profile.detector,
        "abstain": profile.abstain,
        "notes": _notes(profile, wording),
        "promise": {"max_risk": promise.max_risk, "confidence": promise.confidence}
        if promise
        else None,
        "rows": rows,
    }


def _notes(profile: Profile, wording: str) -> list[str]:
    """How questions are asked here otherwise than the profile's were."""
    said = [profile.warnings(system, Sampling()) for system in systems_of(wording)]
    return sorted({note for notes in said for note in notes})


def _scores(task: Task, profile: Profile) -> tuple[Floats, Floats, Bools]:
    """The score and P(wrong) of every answer, NaN if there is none, and whether it is shown.

    All of shape (n,).
    """
    risk, p_wrong, decides = np.full((3, len(task.answers)), np.nan)
    unscored = [shown_unscored(answered, profile) for answered in task.answers]
    for at, answered in enumerate(task.answers):
        score = answered.scored_by(profile.scorer).score
        if task.ranked[at] and isinstance(score, Score):
            risk[at] = score.value
            p = profile.p_wrong(score)
            p_wrong[at] = np.nan if p is None else p
            decides[at] = risk_of(score, profile)
    with np.errstate(invalid="ignore"):
        below = decides < profile.abstain
    return risk, p_wrong, np.where(np.isnan(decides), unscored, below).astype(bool)


def _figures(
    risk: Floats,
    p_wrong: Floats,
    shown: Bools,
    right: Bools,
    wrong: Bools,
    tasks: np.ndarray[Any, Any] | None = None,
) -> ProfileRow:
    scored, known = np.isfinite(risk), np.isfinite(p_wrong)
    told = None if tasks is None else tasks[known]
    return {
        "n": len(wrong),
        "auroc": measured(auroc(risk[scored], wrong[scored])),
        "wrong": measured(proportion(int(wrong.sum()), int((right | wrong).sum()))),
        "coverage": measured(proportion(int(shown.sum()), len(wrong))),
        "risk": measured(proportion(int((shown & wrong).sum()), int(shown.sum()))),
        "brier_skill": measured(brier_skill(p_wrong[known], wrong[known], tasks=told)),
        "calibration_error": measured(calibration_error(p_wrong[known], wrong[known])),
    }
