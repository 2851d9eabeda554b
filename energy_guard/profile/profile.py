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
    """What a profile's numbers come from, for people to read; nothing depends on it.

    Attributes:
        version: The version of Energy Guard that made it.
        tasks: How many labelled rows each task has.
        fit: How many rows the detector was fitted to.
        calibrate: How many rows P(wrong) was fitted to.
        certify: How many rows promises were tested on.
        not_located: How many rows have no answer span.
        declined: How many rows the model itself declined to answer.

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

    Attributes:
        answers: How many answers with P(wrong) it was estimated from.
        labelled: How many of these had a label.
        share: How often the model is wrong among them, by that estimate (0 to 1).
        before: The mean P(wrong) of the same answers under the profile that it started from.
        start: The `basis` of that profile.
        log_odds: What was added to the log-odds of every P(wrong).

    """

    answers: int = Field(ge=1)
    labelled: int = Field(ge=0)
    share: Estimate
    before: float = Field(ge=0, le=1)
    start: str
    log_odds: float


class Profile(Rules):
    """A calibration with what it depends on, and the promises that were made with it.

    Another model, backend, mode, detector, locator or scoring is refused, and so are rules by which
    other answers would come out (`Rules.differences`). Another system prompt, sampling or engine
    option is warned about, unless None was recorded.

    Attributes:
        model: The fingerprint of weights, quantisation and adapters.
        backend: The name of the engine.
        mode: Whether questions are asked in a `chat` or as `raw` text; None for either.
        detector: The name of the detector.
        locator: The name of the locator.
        scoring: How answers are evaluated: token by token, be they written or read, or `fast`.
        system_prompt: The system prompt of its questions, "" if there was none.
        sampling: How its answers were drawn; the seed does not matter.
        engine: The options of the engine.
        fitted: The detector itself, if `detector` names a fitted one.
        neurons: The probe that the detector is, or that one of its features comes from.
        calibration: The curve from scores to P(wrong).
        judged: What P(wrong) was calibrated on: every claim of an answer, or its exact answer
            alone.
        whole_answer: The curve for answers that were not located. None: they have no P(wrong).
        warn: The limit on P(wrong) from which on it was made to warn.
        abstain: The limit on P(wrong) from which on it was made to withhold.
        certificates: Every look at rows for promises, even if it came to nothing. Promises depend
            on `unscored` and `nothing_to_check`, too, with retries or without.
        training: What its numbers come from.
        p_wrong_from: What its level comes from: labelled answers of this model (`profile`), those
            of `other models`, or unlabelled ones (`traffic`).
        traffic: The unlabelled answers that moved its level, if any did.
        elsewhere: By how much all log-odds of being wrong were raised, because the questions that
            will come are harder than those that were labelled.
        elsewhere_slope: What they were multiplied by before, because to be sure means less there.

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
    elsewhere_slope: float = Field(default=1.0, gt=0)

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

        A certificate covers this profile if it was made with the same digest; others that the
        profile has are looks, and no promises.
        """
        text = self.model_dump_json(exclude=_NO_BASIS, by_alias=True)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]

    @checked
    def p_wrong(self, score: Score) -> float | None:
        """Return the probability that an answer is wrong.

        Args:
            score: The answer's score by this profile's detector.

        Returns:
            P(wrong), 0 to 1. None for an answer unlike those that it was calibrated on; `why_not`
            says how it differs.

        """
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

        Returns:
            P(wrong), 0 to 1, or None.

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
        """Say why there is no P(wrong).

        Args:
            score: The answer's score by this profile's detector.

        Returns:
            A clause in a user's words; None if there is a P(wrong).

        """
        calibration = self._calibration(score)
        if calibration is None:
            return "no exact answer was found, and the profile was made from answers that have one"
        if score.unlike is not None:
            return score.unlike.reason
        return calibration.why_not(score.value, score.length)

    def _calibration(self, score: Score) -> Calibration | None:
        return self.whole_answer if score.part == "whole answer" else self.calibration

    def policy(self) -> Policy:
        """Return the policy that it was made for: its limits, retries and rules."""
        return Policy(
            on="p_wrong",
            warn=min(self.warn, self.abstain),
            abstain=self.abstain,
            **self.rules,
        )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a profile from a file.

        Args:
            path: A file in JSON or TOML (.toml), as `energy-guard calibrate` writes it.

        Raises:
            ConfigError: If the file cannot be read; it names a wrong key or value.

        """
        return cls(**read_config(path))

    def check(self, **actual: str | int) -> None:
        """Check that what the profile depends on is what is in use.

        Args:
            actual: What is in use: any of model, backend, mode, detector, locator, scoring,
                retries.

        Raises:
            MismatchError: If one of them differs.
            ConfigError: If a profile does not depend on what is named.

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
        """Check that the same answers come out of a policy as the profile was made from.

        Retries keep the least risky of several answers, and an early stop withholds some: what
        comes out is another mix of right and wrong ones. With retries another limit does the same,
        as it has other answers tried again.

        Args:
            policy: The rules that are in use.

        Raises:
            MismatchError: If other answers come out of it.

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
        """Say what may shift P(wrong), because it is not as it was when the profile was made.

        Args:
            system_prompt: The system prompt that is in use. What is None, here or in the profile,
                is not compared.
            sampling: How answers are drawn now.
            engine: The options of the engine. Those count that both name.

        Returns:
            A sentence for each difference.

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

        It covers exactly the tested limits on P(wrong), and answers that came out as those did that
        it was made from; below a lower limit the risk may be higher.

        Args:
            policy: The rules that are in use.

        Returns:
            The certificate with the lowest share of wrong answers among those shown.

        Raises:
            MismatchError: If other answers come out of this policy than the profile was made from.

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
    *(("p_wrong_from", "profile"), ("traffic", None)),
    *(("elsewhere", 0.0), ("elsewhere_slope", 1.0)),
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
