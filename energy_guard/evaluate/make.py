"""From graded answers to a profile: fit, calibrate, certify, each on questions of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import as_file, files
from typing import Final

import numpy as np

from energy_guard.backends.base import ModelInfo
from energy_guard.calibrate import (
    Calibration,
    Certificate,
    Profile,
    Split,
    Training,
    certify,
    fit_calibration,
    split_of,
    threshold_grid,
)
from energy_guard.calibrate.certificate import Labelled
from energy_guard.errors import InputError
from energy_guard.estimate import Measured
from energy_guard.evaluate.answers import Answered
from energy_guard.evaluate.fit import adapt, rescaled, stack
from energy_guard.evaluate.metrics import auroc
from energy_guard.features import features
from energy_guard.fitted import FittedDetector
from energy_guard.locate import Span
from energy_guard.request import Sampling
from energy_guard.score import Detector, Score, Scorer

FEWEST: Final = 20
"""Answers of the rarer class that fitting and calibrating need at the least."""


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

    auroc: of its risk; baseline: of nll:max, the single signal without a profile.
    """

    profile: Profile
    certificate: Certificate | None
    auroc: Measured
    baseline: Measured
    outcomes: Counter[str]


def make_profile(
    answers: Sequence[Answered],
    info: ModelInfo,
    locator: str,
    *,
    detector: str | None = None,
    wish: Wish | None = None,
    system_prompt: str | None = None,
    sampling: Sampling | None = None,
    earlier: Sequence[Certificate] = (),
) -> Made:
    """Make a profile for live, single answers (no retries) from graded ones.

    detector: a single signal, instead of one that is fitted here. earlier: certificates that
    were made with these questions before, each a look.

    Raises InputError where there are too few right or wrong answers to learn from.
    """
    wish = wish or Wish()
    parts: dict[Split, list[Answered]] = {"fit": [], "calibrate": [], "certify": []}
    for answered in _once_each(answers):
        parts[split_of(answered.question, answered.context)].append(answered)
    scorer: Scorer = Detector.parse(detector) if detector else _fitted(parts["fit"])
    # Where nothing is to be promised, there is nothing to keep the certifying questions for.
    spare = [] if wish.max_risk is not None else parts["certify"]
    calibrating = _scored([*parts["calibrate"], *spare], scorer)
    _need_both(calibrating, "calibrate")
    scores = [score.value for _, score in calibrating]
    calibration = fit_calibration(
        scores,
        [answered.wrong for answered, _ in calibrating],
        [len(score.span.tokens) for _, score in calibrating],
    )
    calibration = _widened(calibration, _scored(parts["fit"], scorer))
    profile = Profile(
        model=info.fingerprint,
        backend=info.backend,
        mode="chat",
        detector=scorer.name,
        locator=locator,
        fitted=scorer if isinstance(scorer, FittedDetector) else None,
        calibration=calibration,
        system_prompt=system_prompt,
        sampling=sampling,
        certificates=tuple(earlier),
        training=_training(answers, parts, scorer, promised=wish.max_risk is not None),
    )
    certificate = None
    if wish.max_risk is not None:
        grid = [p for s in scores if (p := calibration.p_wrong(s)) is not None]
        certificate = certify(
            _labelled(parts["certify"], profile),
            threshold_grid(np.array(grid)),
            wish.max_risk,
            wish.confidence,
            scorer.name,
            earlier,
        )
        made = profile.certificates + ((certificate,) if certificate not in earlier else ())
        profile = profile.model_copy(update={"certificates": made})
    profile = profile.model_copy(update=_limits(wish, certificate))
    testing = _scored(parts["certify"], scorer)
    wrong = np.array([answered.wrong for answered, _ in testing], dtype=bool)
    single = [Detector.parse("nll:max").score(a.trace, a.located) for a, _ in testing]
    return Made(
        profile=profile,
        certificate=certificate,
        auroc=auroc(np.array([score.value for _, score in testing]), wrong),
        baseline=auroc(np.array([s.value for s in single if isinstance(s, Score)]), wrong),
        outcomes=Counter(answered.outcome for answered in answers),
    )


def _widened(calibration: Calibration, fitted: Sequence[tuple[Answered, Score]]) -> Calibration:
    """Let its range take in the answers that the detector was fitted on, too.

    And a tenth more at the sure end: a few hundred answers seldom have the surest one among
    them, and to withhold the surest answers of all would be absurd.
    """
    scores = [score.value for _, score in fitted]
    lengths = [len(score.span.tokens) for _, score in fitted]
    lowest, highest = min([calibration.lowest, *scores]), max([calibration.highest, *scores])
    return calibration.model_copy(
        update={
            "lowest": lowest - (highest - lowest) / 10,
            "highest": highest,
            "shortest": min([calibration.shortest or 1, *lengths]),
            "longest": max([calibration.longest or 1, *lengths]),
        }
    )


def declined(answered: Answered) -> bool:
    """Whether the model itself said that it does not know: there is nothing to be wrong about."""
    return answered.outcome == "refused" or (
        not answered.answerable and answered.outcome == "right"
    )


def _limits(wish: Wish, certificate: Certificate | None) -> dict[str, float]:
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


def _once_each(answers: Sequence[Answered]) -> list[Answered]:
    """One answer a question: splits and promises are about questions."""
    first: dict[tuple[str, str | None], Answered] = {}
    for answered in answers:
        first.setdefault((answered.question, answered.context), answered)
    return list(first.values())


def _fitted(answers: Sequence[Answered]) -> FittedDetector:
    prior = shipped_prior()
    rows = [
        (a, features(a.trace, a.located, prior.names))
        for a in answers
        if isinstance(a.located, Span) and not declined(a)
    ]
    whole = [(a, row) for a, row in rows if np.isfinite(row).all()]
    wrong = [a.wrong for a, _ in whole]
    _need(wrong.count(False), wrong.count(True), "fit a detector")
    examples = stack(prior.names, [row for _, row in whole], wrong, [a.task for a, _ in whole])
    return adapt(rescaled(prior, examples.values), examples)


def shipped_prior() -> FittedDetector:
    """The detector that is shipped: where fitting to another model's answers begins."""
    with as_file(files("energy_guard.data") / "prior.json") as path:
        return FittedDetector.read(path)


def _scored(answers: Sequence[Answered], scorer: Scorer) -> list[tuple[Answered, Score]]:
    """Those that the model did not decline and that have a score."""
    pairs = ((a, scorer.score(a.trace, a.located)) for a in answers if not declined(a))
    return [(answered, score) for answered, score in pairs if isinstance(score, Score)]


def _labelled(answers: Sequence[Answered], profile: Profile) -> Labelled:
    if not answers:
        raise InputError("there is no question to certify on", "Add questions.")
    risks = {a.id: _p_wrong(score, profile) for a, score in _scored(answers, profile.scorer)}
    return Labelled(
        [f"{a.question}\0{a.context or ''}" for a in answers],
        np.array([risks.get(a.id, math.nan) for a in answers]),
        np.array([a.wrong for a in answers], dtype=bool),
    )


def _p_wrong(score: Score, profile: Profile) -> float:
    p = profile.calibration.p_wrong(score.value, len(score.span.tokens))
    return math.nan if p is None else p


def _need_both(scored: Sequence[tuple[Answered, Score]], what: str) -> None:
    wrong = sum(answered.wrong for answered, _ in scored)
    _need(len(scored) - wrong, wrong, what)


def _need(right: int, wrong: int, what: str) -> None:
    if min(right, wrong) < FEWEST:
        raise InputError(
            f"{right} right and {wrong} wrong answers are too few to {what}: "
            f"at least {FEWEST} of each are needed",
            "Add questions that are easier or harder for this model.",
        )


def _training(
    answers: Sequence[Answered],
    parts: dict[Split, list[Answered]],
    scorer: Scorer,
    promised: bool,
) -> Training:
    located = [isinstance(a.located, Span) for a in answers]
    return Training(
        version=version("energy-guard"),
        tasks=dict(Counter(a.task for a in answers)),
        fit=len(parts["fit"]) if isinstance(scorer, FittedDetector) else 0,
        calibrate=len(parts["calibrate"]) + (0 if promised else len(parts["certify"])),
        certify=len(parts["certify"]) if promised else 0,
        not_located=located.count(False),
        declined=sum(map(declined, answers)),
    )
