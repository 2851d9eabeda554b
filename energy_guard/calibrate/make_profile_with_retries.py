"""From all attempts at each question to a profile for a policy that tries again.

Every question is asked as often as the policy allows, whatever comes out; the limit is settled
afterwards, and what would have come out under it is what is calibrated and certified.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from energy_guard.backends.base import ModelInfo
from energy_guard.calibrate.certify import certify, spend
from energy_guard.calibrate.kinds import kinds
from energy_guard.calibrate.learn import (
    calibrated,
    in_splits,
    knowing,
    scored,
    scorer_for,
    to_learn_from,
)
from energy_guard.calibrate.make_profile import (
    Made,
    Wish,
    labelled,
    profile_with,
    ranking,
    training,
)
from energy_guard.calibrate.retry_chains import Chains
from energy_guard.calibrate.split import Split
from energy_guard.decide import as_run
from energy_guard.errors import ConfigError
from energy_guard.fitted import FittedDetector
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.policy import Policy
from energy_guard.profile import Certificate, Profile
from energy_guard.questions.answered import Answered
from energy_guard.questions.unsure import sure
from energy_guard.request import Sampling
from energy_guard.score import Score


def check_policy(policy: Policy, wish: Wish) -> None:
    """Raise ConfigError if no profile can be made for a policy, before anything is asked."""
    if policy.on != "p_wrong":
        raise ConfigError(
            "a profile is made for limits on P(wrong), and this policy's are on the score",
            'Write on = "p_wrong" in it, and limits between 0 and 1, or none.',
        )
    if policy.retries and "fallback" in policy.retry:
        raise ConfigError(
            "a fallback is another model with a profile of its own: it cannot be calibrated here",
            "Leave it out of retry.",
        )
    if policy.abstain is not None and (wish.max_risk, wish.target) != (None, None):
        raise ConfigError(
            "the policy's abstain and max_risk or target are two ways to set one threshold",
            "Give one.",
        )


def asking_profile(
    answers: Sequence[Answered],
    info: ModelInfo,
    *,
    locator: str,
    policy: Policy,
    detector: str | None = None,
    mode: Literal["chat", "raw"] = "chat",
    system_prompt: str | None = None,
    sampling: Sampling | None = None,
    support: bool = False,
    neurons: NeuronProbe | None = None,
) -> Profile:
    """Return the profile to ask under: its policy tries again as often as it may.

    answers: single ones, to questions of the split `fit`, which the detector is fitted to.
    support: whether the support by passages was measured. neurons: a probe that was watched.
    """
    scorer = scorer_for(answers, detector, support=support, neurons=neurons)
    return profile_with(
        scorer,
        calibrated(scored([a.scored_by(scorer) for a in answers]), ()).model_copy(
            update=_ANY_SCORE
        ),
        info=info,
        locator=locator,
        neurons=neurons,
        warn=0.0,
        abstain=0.0,
        **policy.rules,
        mode=mode,
        system_prompt=system_prompt,
        sampling=sampling,
    )


@dataclass(frozen=True)
class PolicyRun:
    """What a policy makes of stored attempts: how many it needs, and the one that it keeps."""

    attempts: int
    kept: Answered


def run(answered: Answered, profile: Profile) -> PolicyRun:
    """Return what comes out of a question under a profile's own policy.

    answered: with scores (`Answered.scored_by`). Raises InputError if the policy makes more
    attempts than are stored.
    """
    attempts = [
        replace(a, p_wrong=profile.p_wrong(a.score)) if isinstance(a.score, Score) else a
        for a in answered.attempts
    ]
    number, move = as_run(profile.policy(), attempts)
    return PolicyRun(number, answered.alone(move.attempt))


_ANY_SCORE: Final = {
    "lowest": -sys.float_info.max,
    "highest": sys.float_info.max,
    "shortest": None,
    "longest": None,
}
"""No range: where unscored answers are shown, one beyond it would not be tried again."""


def make_retried(
    fitted: Sequence[Answered],
    asked: Sequence[Answered],
    *,
    asking: Profile,
    policy: Policy,
    wish: Wish | None = None,
    earlier: Sequence[Certificate] = (),
) -> Made:
    """Make a profile for a policy as it runs, with its retries.

    fitted: the answers that `asking` was made from. asked: all attempts at the questions of the
    two other splits, asked under `asking`. policy: its limits count where the wish has none;
    `abstain` is a limit on the profile's P(wrong), that of the answer that is kept. earlier:
    certificates that were made with these questions before, each a look.

    One limit is tested and no grid of them: another one would try other answers again, and
    P(wrong) is that of what is kept under this one. Raises InputError if there are too few
    right or wrong answers to learn from.
    """
    wish = wish or Wish()
    unsure = sum(answered.unsure for answered in (*fitted, *asked))
    fitted, asked = sure(fitted), sure(asked)
    unscored = in_splits(asked)
    promised = wish.max_risk is not None
    asking = _knowing(asking, [*fitted, *to_learn_from(unscored, promised=promised)])
    scorer = asking.scorer
    parts = {name: [a.scored_by(scorer) for a in part] for name, part in unscored.items()}
    fitted = [a.scored_by(scorer) for a in fitted]
    chains = Chains.of(to_learn_from(parts, promised=promised), fitted, policy=asking.policy())
    profile = asking.model_copy(update={"certificates": tuple(earlier)})
    certificate = None
    if wish.max_risk is None:
        profile = profile.model_copy(update=chains.at_limit(_limit(wish, policy)))
    else:
        profile, certificate = _promised(profile, chains, parts["certify"], wish, wish.max_risk)
    runs = {name: [run(a, profile) for a in parts[name]] for name in _ASKED}
    out: dict[Split, list[Answered]] = {name: [r.kept for r in runs[name]] for name in _ASKED}
    out["fit"] = in_splits(fitted)["fit"]
    said = training(out, scorer, promised=promised)
    warn = _warn(wish, policy, profile.abstain)
    return Made(
        profile.model_copy(update={"warn": warn, "training": said}),
        certificate,
        *ranking(out["certify"]),
        outcomes=Counter(answered.outcome for part in out.values() for answered in part)
        + Counter(unsure=unsure),
        kinds=kinds([a for name in _ASKED for a in out[name]], profile),
        asked=sum(len(runs[name]) for name in _ASKED),
        retried=sum(r.attempts > 1 for name in _ASKED for r in runs[name]),
    )


def _knowing(profile: Profile, answers: Sequence[Answered]) -> Profile:
    """Return the profile with the ranges of its detector's features in all attempts at these."""
    every = [answered.alone(i) for answered in answers for i in range(len(answered.attempts))]
    scorer = knowing(profile.scorer, every)
    fitted = scorer if isinstance(scorer, FittedDetector) else None
    return profile.model_copy(update={"fitted": fitted})


_ASKED: Final[tuple[Split, ...]] = ("calibrate", "certify")


def _promised(
    profile: Profile,
    chains: Chains,
    certifying: Sequence[Answered],
    wish: Wish,
    max_risk: float,
) -> tuple[Profile, Certificate]:
    """Choose a limit without the certifying questions, and certify it with them."""
    cut = chains.promising(max_risk, spend(wish.confidence, 1), later=len(certifying))
    profile = profile.model_copy(update=chains.at_score(cut))
    certificate = certify(
        labelled([run(a, profile).kept for a in certifying], profile),
        [profile.abstain],
        max_risk=max_risk,
        confidence=wish.confidence,
        basis=profile.basis,
        earlier=profile.certificates,
    )
    if certificate not in profile.certificates:
        looks = (*profile.certificates, certificate)
        profile = profile.model_copy(update={"certificates": looks})
    if certificate.threshold is None:  # nothing is shown: everything is tried again
        profile = profile.model_copy(update=chains.at_score(-math.inf))
    return profile, certificate


def _limit(wish: Wish, policy: Policy) -> float:
    if wish.target is not None:
        return round(1 - wish.target, 12)
    return 0.5 if policy.abstain is None else policy.abstain


def _warn(wish: Wish, policy: Policy, abstain: float) -> float:
    if policy.warn is not None:
        return min(policy.warn, abstain)
    return min(0.25, abstain) if (wish.max_risk, wish.target) == (None, None) else abstain
