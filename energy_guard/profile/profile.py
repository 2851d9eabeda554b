"""A calibration with what it depends on: one model file, one detector, one way of asking.

What would make its numbers wrong is refused; what may shift them is warned about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from energy_guard.arguments import checked
from energy_guard.backends.base import EngineValue
from energy_guard.config import Config, read_config
from energy_guard.errors import ConfigError, MismatchError
from energy_guard.estimates.estimate import Estimate
from energy_guard.fitted import FittedDetector
from energy_guard.neuron_detector import NeuronDetector, is_neurons, name_of
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.policy import Policy, Rules, differences
from energy_guard.profile.calibration import Calibration
from energy_guard.profile.certificate import Certificate
from energy_guard.request import Sampling
from energy_guard.score import Detector, Score, Scorer
from energy_guard.trace import SCHEMA


class ProfileTraining(Config):
    """Where a profile's numbers come from, for people to read; nothing depends on it.

    tasks: labelled rows of each. fit, calibrate, certify: rows of the three splits. not_located,
    declined: rows without an answer span, and those where the model itself declined.
    """

    version: str
    tasks: dict[str, int]
    fit: int = Field(default=0, ge=0)
    calibrate: int = Field(default=0, ge=0)
    certify: int = Field(default=0, ge=0)
    not_located: int = Field(default=0, ge=0)
    declined: int = Field(default=0, ge=0)


class Traffic(Config):
    """By what unlabelled answers the level of a profile was moved.

    answers: those with P(wrong) that it was estimated from; labelled: how many of these had a
    label. share: how often the model is wrong among them, by that estimate. before: the mean
    P(wrong) of the same answers under the first profile, whose `basis` is start. log_odds: what
    was added to the log-odds of every P(wrong).
    """

    answers: int = Field(ge=1)
    labelled: int = Field(ge=0)
    share: Estimate
    before: float = Field(ge=0, le=1)
    start: str
    log_odds: float


class Profile(Rules):
    """A calibration with what it depends on, and the promises that were made with it.

    Refused on mismatch: model (fingerprint of weights, quantisation and adapters), backend, mode
    (chat or raw; None: either), detector, locator, scoring (token by token, live and replayed being
    one way, or `fast`), and the rules that its answers came through, as far as they decide which
    answers come out (`Rules.differences`). Warned about: system_prompt ("" if there was none),
    sampling but for its seed, engine (options of the engine); where None was recorded, nothing is
    said. Promises depend on unscored and nothing_to_check without retries, too.
    judged: what P(wrong) was calibrated on, every claim of an answer or its exact answer alone.
    whole_answer: the calibration of answers that were not located; None: they have no P(wrong).
    fitted: the detector itself, where `detector` names a fitted one. neurons: the probe that the
    detector is, or that one of its features comes from. warn, abstain: the thresholds on P(wrong)
    that it was made for. certificates: every look at certifying rows, also
    those that came to nothing. p_wrong_from: what its level comes from, labelled answers, those of
    `other models`, or, for `traffic`, unlabelled ones, of which traffic tells more. elsewhere: by
    how much all log-odds of being wrong were raised because the questions that will come are harder
    than those that were labelled.

    >>> Profile(model="00ff", backend="scripted", mode="chat", detector="nll:max",
    ...     locator="whole", calibration=dict(slope=1, intercept=0, n=98, n_wrong=50,
    ...     lowest=-3, highest=3)).scoring
    'token-by-token'
    """

    schema_: Literal[1] = Field(default=SCHEMA, alias="schema")
    model: str
    backend: str
    mode: Literal["chat", "raw"] | None
    detector: str
    locator: str
    scoring: Literal["token-by-token", "fast"] = "token-by-token"
    system_prompt: str | None = None
    sampling: Sampling | None = None
    engine: dict[str, EngineValue] | None = None
    fitted: FittedDetector | None = None
    neurons: NeuronProbe | None = None
    calibration: Calibration
    judged: Literal["every claim", "exact answer"] = "exact answer"
    whole_answer: Calibration | None = None
    warn: float = Field(default=0.25, ge=0, le=1)
    abstain: float = Field(default=0.5, ge=0, le=1)
    certificates: tuple[Certificate, ...] = ()
    training: ProfileTraining | None = None
    p_wrong_from: Literal["profile", "other models", "traffic"] = "profile"
    traffic: Traffic | None = None
    elsewhere: float = 0.0

    @field_validator("detector")
    @classmethod
    def _known_detector(cls, value: str) -> str:
        return value if value.startswith("fitted:") else name_of(value)

    @model_validator(mode="after")
    def _has_its_detector(self) -> Self:
        named = self.fitted.name if self.fitted else None
        if named != (self.detector if self.detector.startswith("fitted:") else None):
            raise ValueError(f"detector {self.detector!r} and fitted {named!r} are not the same")
        names = self.fitted.names if self.fitted else (self.detector,)
        probes, given = {name for name in names if is_neurons(name)}, self.neurons
        if probes != ({given.name} if given else set()):
            raise ValueError(f"neurons {given and given.name!r} are not those of the detector")
        return self

    @model_validator(mode="after")
    def _says_where_its_level_comes_from(self) -> Self:
        if (self.p_wrong_from == "traffic") != (self.traffic is not None):
            raise ValueError(f"p_wrong_from {self.p_wrong_from!r} and traffic do not go together")
        return self

    @model_serializer(mode="wrap")
    def _as_files_have_it(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The rules come after what the profile is for, as they did before they were inherited.

        The digest of certificates (`basis`) is of this text: in another order, no certificate
        that is on a disk would be one of its profile any longer.
        """
        values = {k: v for k, v in handler(self).items() if (k, v) not in _AS_BEFORE}
        order = (*(key for key in values if key in _IDENTITY), *Rules.model_fields, *values)
        return {key: values[key] for key in order if key in values}

    @property
    def scorer(self) -> Scorer:
        """The detector."""
        if self.fitted is None and self.neurons is not None:
            return NeuronDetector(self.neurons)
        return self.fitted or Detector.parse(self.detector)

    @property
    def basis(self) -> str:
        """A digest of all that decides which answers are shown below a limit, but for the limit.

        A certificate covers this profile where it was made with the same; others that the
        profile carries are looks, and no promises.
        """
        text = self.model_dump_json(exclude=_NO_BASIS, by_alias=True)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]

    @checked
    def p_wrong(self, score: Score) -> float | None:
        """Return P(wrong), or None for an answer unlike those that were calibrated on."""
        calibration = self._calibration(score)
        if score.unlike is not None or calibration is None:
            return None
        return calibration.p_wrong(score.value, score.length)

    @checked
    def far_risk(self, score: Score) -> float | None:
        """Return P(wrong) of an answer that is far on the risky side; None for any other.

        It has none of its own, so it gets that of the riskiest answers that are known, or of those
        with its score if that is an ordinary one. That is reason enough to withhold it, and never
        one to show it. After retries it is not given: which answers are kept there was settled
        without it.

        Args:
            score: The answer's score.
        """
        calibration = self._calibration(score)
        if calibration is None or self.retries:
            return None
        far = score.unlike.riskier if score.unlike else score.value > calibration.highest
        if not far or score.value < calibration.lowest:
            return None
        return calibration.p_wrong(min(score.value, calibration.highest))

    @checked
    def why_not(self, score: Score) -> str | None:
        """Say why there is no P(wrong); None where there is one."""
        calibration = self._calibration(score)
        if calibration is None:
            return "no exact answer was found, and the profile was made from answers that have one"
        if score.unlike is not None:
            return score.unlike.reason
        return calibration.why_not(score.value, score.length)

    def _calibration(self, score: Score) -> Calibration | None:
        return self.whole_answer if score.part == "whole answer" else self.calibration

    def policy(self) -> Policy:
        """The policy that it was made for: its thresholds, retries and rules."""
        return Policy(
            on="p_wrong",
            warn=min(self.warn, self.abstain),
            abstain=self.abstain,
            **self.rules,
        )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a profile from JSON or TOML; ConfigError names a wrong key."""
        return cls(**read_config(path))

    def check(self, **actual: str | int) -> None:
        """Raise MismatchError if what the profile depends on is not what is in use.

        Args:
            actual: any of model, backend, mode, detector, locator, scoring, retries.

        """
        unknown = sorted(actual.keys() - type(self).model_fields.keys())
        if unknown:
            raise ConfigError(
                f"a profile does not depend on {', '.join(unknown)}",
                "Give any of model, backend, mode, detector, locator, scoring, retries.",
            )
        mine = {key: getattr(self, key) for key in actual}
        if mine.get("mode") is None:  # for chats and raw text alike
            mine.pop("mode", None)
        _refuse(differences(mine, {key: actual[key] for key in mine}))

    @checked
    def check_policy(self, policy: Policy) -> None:
        """Raise MismatchError if other answers come out of this policy.

        Retries keep the least risky of several answers, and an early stop withholds some: what
        comes out is another mix of right and wrong ones than the profile was fitted on. With
        retries so does another limit, which tries other answers again.
        """
        differ = self.differences(policy)
        if self.retries:
            differ += differences({"abstain": self.abstain}, {"abstain": policy.abstain})
        _refuse(differ)

    @checked
    def warnings(
        self,
        system_prompt: str | None = None,
        sampling: Sampling | None = None,
        *,
        engine: Mapping[str, EngineValue] | None = None,
    ) -> list[str]:
        """Say, a sentence each, what may shift P(wrong) because it differs from then.

        What is None here or in the profile is not compared; of the engine's options, those that
        both name.
        """
        differ = []
        if self.sampling is not None and sampling is not None:
            differ += differences(_decoding(self.sampling), _decoding(sampling))
        differ += differences(dict(sorted((self.engine or {}).items())), engine or {})
        said = [f"the profile was made with {difference}" for difference in differ]
        if None not in (self.system_prompt, system_prompt) and self.system_prompt != system_prompt:
            said.insert(0, "the profile was made with another system prompt")
        return said

    @checked
    def promise(self, policy: Policy) -> Certificate | None:
        """Return the strictest certificate that covers what is shown under this policy, or None.

        It covers exactly the tested thresholds on P(wrong), and answers that came out as those
        did that it was made from; below a lower threshold the risk may be higher.
        """
        if policy.on != "p_wrong" or policy.abstain is None:
            return None
        if (policy.unscored, policy.nothing_to_check) != (self.unscored, self.nothing_to_check):
            return None
        self.check_policy(policy)
        covering = (
            made
            for made in self.certificates
            if made.basis == self.basis and made.holds_at(policy.abstain)
        )
        return min(covering, key=lambda made: made.max_risk, default=None)


_AS_BEFORE: Final = (
    *(("judged", "exact answer"), ("whole_answer", None)),
    ("neurons", None),
    *(("p_wrong_from", "profile"), ("traffic", None), ("elsewhere", 0.0)),
)
"""What older files do not say: a profile that has nothing else to say is written as they are."""

_IDENTITY: Final = frozenset(
    ("schema", "schema_", "model", "backend", "mode", "detector", "locator", "scoring")
)
"""What a profile is for."""

_NO_BASIS: Final = {
    *("warn", "abstain", "certificates", "training"),
    *("system_prompt", "sampling", "engine"),
}
"""The limit, which certificates name themselves; what is for people; what is warned about."""


def _decoding(sampling: Sampling) -> dict[str, object]:
    """How tokens are drawn; the seed only says which ones."""
    return {name: value for name, value in asdict(sampling).items() if name != "seed"}


def _refuse(differ: Sequence[str]) -> None:
    if differ:
        raise MismatchError(
            f"the profile was made with {'; '.join(differ)}",
            "Use it as it was made, make one for this case (energy-guard calibrate), or go "
            "without (--profile none, in Python profile=None).",
        )
