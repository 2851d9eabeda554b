"""A calibration with what it depends on: one model file, one detector, one way of asking.

What would make its numbers wrong is refused; what may shift them is warned about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from energy_guard.backends.base import EngineValue
from energy_guard.config import Config, read_config
from energy_guard.errors import MismatchError
from energy_guard.fitted import FittedDetector
from energy_guard.policy import FEEDBACK, EarlyStop, Policy, RetryKind, Unjudged
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


class Profile(Config):
    """A calibration with what it depends on, and the promises that were made with it.

    Refused on mismatch: model (fingerprint of weights, quantisation and adapters), backend, mode
    (chat or raw), detector, locator, scoring (token by token, live and replayed being one way, or
    `fast`), and the policy that its answers came through: early_stop; retries, and with retries
    all that decides which answers are tried again and how. Warned about: system_prompt ("" where
    there was none), sampling but for its seed, engine (options of the engine); where None was
    recorded, nothing is said.
    unscored, nothing_to_check: whether such answers were shown, which promises depend on.
    fitted: the detector itself, where `detector` names a fitted one. warn, abstain: the
    thresholds on P(wrong) that it was made for. certificates: every look at certifying rows, also
    those that came to nothing.

    >>> Profile(model="00ff", backend="scripted", mode="chat", detector="nll:max",
    ...     locator="whole", calibration=dict(slope=1, intercept=0, n=98, n_wrong=50,
    ...     lowest=-3, highest=3)).scoring
    'token-by-token'
    """

    schema_: Literal[1] = Field(default=SCHEMA, alias="schema")
    model: str
    backend: str
    mode: Literal["chat", "raw"]
    detector: str
    locator: str
    scoring: Literal["token-by-token", "fast"] = "token-by-token"
    retries: int = Field(default=0, ge=0)
    retry: tuple[RetryKind, ...] = Field(default=("resample",), min_length=1)
    retry_temperature: float = Field(default=0.7, gt=0)
    feedback_text: str = FEEDBACK
    early_stop: EarlyStop | None = None
    unscored: Unjudged = "withhold"
    nothing_to_check: Unjudged = "show"
    system_prompt: str | None = None
    sampling: Sampling | None = None
    engine: dict[str, EngineValue] | None = None
    fitted: FittedDetector | None = None
    calibration: Calibration
    warn: float = Field(default=0.25, ge=0, le=1)
    abstain: float = Field(default=0.5, ge=0, le=1)
    certificates: tuple[Certificate, ...] = ()
    training: ProfileTraining | None = None

    @field_validator("detector")
    @classmethod
    def _known_detector(cls, value: str) -> str:
        return value if value.startswith("fitted:") else Detector.parse(value).name

    @model_validator(mode="after")
    def _has_its_detector(self) -> Self:
        named = self.fitted.name if self.fitted else None
        if named != (self.detector if self.detector.startswith("fitted:") else None):
            raise ValueError(f"detector {self.detector!r} and fitted {named!r} are not the same")
        return self

    @property
    def scorer(self) -> Scorer:
        """The detector."""
        return self.fitted or Detector.parse(self.detector)

    @property
    def basis(self) -> str:
        """A digest of all that decides which answers are shown below a limit, but for the limit.

        A certificate covers this profile where it was made with the same; others that the
        profile carries are looks, and no promises.
        """
        text = self.model_dump_json(exclude=_NO_BASIS, by_alias=True)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]

    def p_wrong(self, score: Score) -> float | None:
        """Return P(wrong), or None for an answer unlike those that were calibrated on."""
        if score.unlike is not None:
            return None
        return self.calibration.p_wrong(score.value, len(score.span.tokens))

    def why_not(self, score: Score) -> str | None:
        """Say why there is no P(wrong); None where there is one."""
        return score.unlike or self.calibration.why_not(score.value, len(score.span.tokens))

    def policy(self) -> Policy:
        """The policy that it was made for: its thresholds, retries and rules."""
        return Policy(
            on="p_wrong",
            warn=min(self.warn, self.abstain),
            abstain=self.abstain,
            unscored=self.unscored,
            nothing_to_check=self.nothing_to_check,
            retries=self.retries,
            retry=self.retry,
            retry_temperature=self.retry_temperature,
            feedback_text=self.feedback_text,
            early_stop=self.early_stop,
        )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a profile from JSON or TOML; ConfigError names a wrong key."""
        return cls(**read_config(path))

    def check(self, **actual: str | int) -> None:
        """Raise MismatchError where what the profile depends on is not what is in use.

        actual: any of model, backend, mode, detector, locator, scoring, retries.
        """
        for key, value in actual.items():
            self._refuse(key, getattr(self, key), value)

    def check_policy(self, policy: Policy) -> None:
        """Raise MismatchError where other answers come out of this policy.

        Retries keep the least risky of several answers, and an early stop withholds some: what
        comes out is another mix of right and wrong ones than the profile was fitted on. With
        retries so does another limit, which tries other answers again.
        """
        self._refuse("retries", self.retries, policy.retries)
        if self.retries:
            kinds = _kinds(self.retry, self.retries), _kinds(policy.retry, policy.retries)
            self._refuse("retry", *kinds)
            alike = ["retry_temperature", "abstain", "unscored", "nothing_to_check"]
            for key in alike + (["feedback_text"] if "feedback" in kinds[0] else []):
                self._refuse(key, getattr(self, key), getattr(policy, key))
        self._refuse("early_stop", self.early_stop, policy.early_stop)

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
        said = []
        if None not in (self.system_prompt, system_prompt) and self.system_prompt != system_prompt:
            said.append("the profile was made with another system prompt")
        if self.sampling is not None and sampling is not None:
            said += [
                _differs(name, then, now)
                for name in _DECODING
                if (then := getattr(self.sampling, name)) != (now := getattr(sampling, name))
            ]
        then_engine, now_engine = self.engine or {}, engine or {}
        said += [
            _differs(name, then_engine[name], now_engine[name])
            for name in sorted(then_engine.keys() & now_engine.keys())
            if then_engine[name] != now_engine[name]
        ]
        return said

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

    def _refuse(self, key: str, expected: object, value: object) -> None:
        if expected != value:
            raise MismatchError(
                f"the profile was made with {key} {expected!r}, and this is {value!r}",
                "Use it as it was made, make one for this case (energy-guard calibrate), or go "
                "without (--profile none, in Python profile=None).",
            )


_NO_BASIS: Final = {
    *("warn", "abstain", "certificates", "training"),
    *("system_prompt", "sampling", "engine"),
}
"""The limit, which certificates name themselves; what is for people; what is warned about."""

_DECODING: Final = tuple(name for name in Sampling.__dataclass_fields__ if name != "seed")


def _kinds(retry: tuple[RetryKind, ...], retries: int) -> tuple[RetryKind, ...]:
    """What each retry is; the last kind of the list serves for all further ones."""
    return tuple(retry[min(number, len(retry) - 1)] for number in range(retries))


def _differs(name: str, then: object, now: object) -> str:
    return f"the profile was made with {name} {then!r}, and this is {now!r}"
