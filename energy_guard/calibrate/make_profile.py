"""From graded answers to a profile: fit, calibrate, certify, each on questions of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from energy_guard.backends.base import ModelInfo
from energy_guard.calibrate.certify import Labelled, certify, threshold_grid
from energy_guard.calibrate.kinds import KindFigures, kinds
from energy_guard.calibrate.learn import (
    FEWER,
    FEWEST,
    FIT,
    in_splits,
    learn_from_quiz,
    learn_here,
    scored,
    to_learn_from,
    with_score,
)
from energy_guard.calibrate.split import SHARES, Split, question_key
from energy_guard.errors import InputError
from energy_guard.estimates.estimate import Measured
from energy_guard.estimates.ranking import auroc
from energy_guard.fitted import FittedDetector
from energy_guard.locate import NothingToCheck, Span
from energy_guard.neuron_detector import NeuronDetector
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.profile import Calibration, Certificate, Profile, ProfileTraining
from energy_guard.questions.answered import Answered
from energy_guard.questions.unsure import sure
from energy_guard.request import Sampling
from energy_guard.score import Detector, Score, Scorer


@dataclass(frozen=True)
class Wish:
    """What a profile is to be made for.

    max_risk: the share of wrong answers among those shown that is to be promised at
    `confidence`. target: answer where P(right) is above it. Neither: above 1/2.
    """

    max_risk: float | None = None
    confidence: float = 0.95
    target: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_risk", "confidence", "target"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise InputError(f"{name} is {value}", "Give a share between 0 and 1.")
        if self.max_risk is not None and self.target is not None:
            raise InputError("max_risk and target are two ways to set one threshold", "Give one.")


@dataclass(frozen=True)
class Made:
    """A profile, and how its detector ranks answers that it was not fitted on.

    auroc: of its risk; baseline: of nll:max, the single signal without a profile. kinds: P(wrong)
    on these answers, kind of question by kind. asked, retried: of how many questions a policy
    with retries asks how many again.
    """

    profile: Profile
    certificate: Certificate | None
    auroc: Measured
    baseline: Measured
    outcomes: Counter[str]
    kinds: tuple[KindFigures, ...]
    asked: int = 0
    retried: int = 0


def make_profile(
    answers: Sequence[Answered],
    info: ModelInfo,
    *,
    locator: str,
    detector: str | None = None,
    wish: Wish | None = None,
    mode: Literal["chat", "raw"] = "chat",
    system_prompt: str | None = None,
    sampling: Sampling | None = None,
    earlier: Sequence[Certificate] = (),
    quiz: bool = False,
    support: bool = False,
    neurons: NeuronProbe | None = None,
) -> Made:
    """Make a profile for live, single answers (no retries) from graded ones.

    detector: a single signal or a probe, instead of one that is fitted here. mode: whether a chat
    template was applied. earlier: certificates that were made with these questions before, each
    a look. quiz: whether they are the built-in quiz's, which stand for other people's questions:
    see `learn_from_quiz`. support: whether the support by passages was measured, so that a
    detector that is fitted may go by it. neurons: a probe that was watched, likewise.

    Answers whose grade is unsure are counted and left out.

    Raises InputError if there are too few right or wrong answers to learn from.
    """
    wish = wish or Wish()
    promised = wish.max_risk is not None
    unscored = in_splits(sure(answers))
    if quiz and detector is None and neurons is None:
        learnt = learn_from_quiz(unscored, promised=promised, model=info.fingerprint)
    else:
        learnt = learn_here(
            unscored, detector=detector, promised=promised, support=support, neurons=neurons
        )
    parts = learnt.parts
    profile = profile_with(
        learnt.scorer,
        learnt.calibration,
        whole_answer=learnt.whole_answer,
        elsewhere=learnt.harder,
        elsewhere_slope=learnt.flatter,
        info=info,
        locator=locator,
        neurons=neurons,
        mode=mode,
        system_prompt=system_prompt,
        sampling=sampling,
        certificates=tuple(earlier),
        training=training(parts, learnt.scorer, promised=promised),
    )
    certificate = None
    if wish.max_risk is not None:
        p_of = learnt.calibration.p_wrong
        grid = [p for _, s in learnt.calibrating if (p := p_of(s.value)) is not None]
        certificate = certify(
            labelled(parts["certify"], profile),
            threshold_grid(np.array(grid)),
            max_risk=wish.max_risk,
            confidence=wish.confidence,
            basis=profile.basis,
            earlier=earlier,
        )
        made = profile.certificates + ((certificate,) if certificate not in earlier else ())
        profile = profile.model_copy(update={"certificates": made})
    profile = profile.model_copy(update=limits(wish, certificate))
    return Made(
        profile,
        certificate,
        *ranking(parts["certify"]),
        outcomes=Counter(answered.outcome for answered in answers),
        kinds=kinds([*parts["calibrate"], *parts["certify"]], _as_asked(profile)),
    )


def _as_asked(profile: Profile) -> Profile:
    """The profile at the level of the questions that it was made with."""
    there = profile.calibration.shifted(-profile.elsewhere)
    at_home = there.flattened(1 / profile.elsewhere_slope)
    return profile.model_copy(update={"calibration": at_home})


def profile_with(
    scorer: Scorer,
    calibration: Calibration,
    *,
    info: ModelInfo,
    locator: str,
    neurons: NeuronProbe | None = None,
    mode: Literal["chat", "raw"] = "chat",
    **other: Any,
) -> Profile:
    """Return a profile of a model. neurons: what a fitted scorer goes by. other: further fields."""
    return Profile(
        model=info.fingerprint,
        backend=info.backend,
        engine=dict(info.engine) or None,
        mode=mode,
        detector=scorer.name,
        fitted=scorer if isinstance(scorer, FittedDetector) else None,
        neurons=scorer.probe if isinstance(scorer, NeuronDetector) else neurons,
        locator=locator,
        calibration=calibration,
        judged="every claim",
        **other,
    )


def ranking(answers: Sequence[Answered]) -> tuple[Measured, Measured]:
    """Return the AUROC of scored answers' scores, and that of nll:max on the same answers."""
    testing = scored(answers)
    wrong = np.array([answered.wrong for answered, _ in testing], dtype=bool)
    single = [Detector.parse("nll:max").score(a.trace, a.located) for a, _ in testing]
    return (
        auroc(np.array([score.value for _, score in testing]), wrong),
        auroc(np.array([s.value for s in single if isinstance(s, Score)]), wrong),
    )


def limits(wish: Wish, certificate: Certificate | None) -> dict[str, float]:
    """The thresholds on P(wrong): the certified one, the target's, or 1/2 with a warning at 1/4.

    Where nothing can be promised nothing is shown.
    """
    if wish.max_risk is not None:
        held = certificate.threshold if certificate else None
        return {"warn": held or 0.0, "abstain": held or 0.0}
    if wish.target is not None:
        limit = round(1 - wish.target, 12)
        return {"warn": limit, "abstain": limit}
    return {"warn": 0.25, "abstain": 0.5}


def labelled(answers: Sequence[Answered], profile: Profile) -> Labelled:
    """Return scored answers as what certificates are made from: what a profile's policy shows.

    Nothing that the model declined is an answer. What has nothing to check in it, or no score, is
    shown whatever the threshold where the profile's policy shows it.
    """
    if not answers:
        raise InputError("there is no question to certify on", "Add questions.")
    risks = {a.id: risk_of(score, profile) for a, score in with_score(answers)}
    risk = np.array([risks.get(a.id, math.nan) for a in answers])
    return Labelled(
        [question_key(a.question, a.context) for a in answers],
        risk,
        np.array([a.wrong for a in answers], dtype=bool),
        np.isnan(risk) & np.array([shown_unscored(a, profile) for a in answers], dtype=bool),
    )


def shown_unscored(answered: Answered, profile: Profile) -> bool:
    """Whether a profile's policy shows an answer that has no P(wrong)."""
    if answered.declined or answered.attempts[-1].stopped is not None:
        return False
    nothing = isinstance(answered.located, NothingToCheck)
    return (profile.nothing_to_check if nothing else profile.unscored) == "show"


def risk_of(score: Score, profile: Profile) -> float:
    """Return what a profile's policy holds against its limit; NaN if it is shown or not anyway.

    An answer that is far on the risky side is withheld for its risk only where it would be shown
    without one.
    """
    p = profile.p_wrong(score)
    if p is None and profile.unscored == "show":
        p = profile.far_risk(score)
    return math.nan if p is None else p


def check_enough(splits: Sequence[Split], *, detector: str | None, promised: bool) -> None:
    """Refuse questions that are too few whatever the answers, before any is asked.

    Args:
        splits: The set that each question belongs to.
        detector: A single signal; None if a detector is to be fitted, to answers of its own.
        promised: Whether the certifying questions are kept for a promise.

    Raises:
        InputError: They are too few; it says how many are needed in all.

    """
    learn: tuple[Split, ...] = ("calibrate",) if promised else ("calibrate", "certify")
    steps: dict[str, tuple[Split, ...]] = {"calibrate": learn}
    if detector is None:
        steps[FIT] = ("fit",)
    shares = dict(SHARES)
    least = 2 * FEWEST
    in_all = max(
        math.ceil(round(least / sum(shares[name] for name in names), 6)) for names in steps.values()
    )
    fewer = "" if detector else FEWER
    for what, names in steps.items():
        there = sum(split in names for split in splits)
        if there < least:
            raise InputError(
                f"{len(splits)} questions are too few: {there} of them are there to {what}, and "
                f"that takes {FEWEST} right and {FEWEST} wrong answers",
                f"Give at least {in_all} in all, and better twice as many: a question always "
                f"belongs to the same step, and few models are wrong half of the time.{fewer}",
            )


def training(
    parts: Mapping[Split, list[Answered]], scorer: Scorer, *, promised: bool
) -> ProfileTraining:
    """Say what a profile was made from."""
    answers = [answered for part in parts.values() for answered in part]
    located = [isinstance(a.located, Span) for a in answers]
    return ProfileTraining(
        version=version("energy-guard"),
        tasks=dict(Counter(a.task for a in answers)),
        fit=len(parts["fit"]) if isinstance(scorer, FittedDetector) else 0,
        calibrate=len(to_learn_from(parts, promised=promised)),
        certify=len(parts["certify"]) if promised else 0,
        not_located=located.count(False),
        declined=sum(a.declined for a in answers),
    )
