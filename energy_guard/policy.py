"""Thresholds and what follows from them, as settings that can be read from a file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from energy_guard.arguments import checked
from energy_guard.config import Config, read_config
from energy_guard.errors import ConfigError
from energy_guard.neuron_detector import name_of
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.request import Request
from energy_guard.score import Scorer

Verdict = Literal["accept", "warn", "abstain", "unscored"]
"""Final; a retry is a move, not a verdict."""

RetryKind = Literal["resample", "feedback", "fallback", "damp"]
"""A fresh seed; a fresh seed after telling the model which part was weak; another model; a fresh
seed with the H-neurons of the guard's probe switched off."""

Unjudged = Literal["withhold", "show"]

FEEDBACK: Final = (
    "You do not seem to be sure of “{span}”. Think again and answer once more; "
    "if you do not know, say so."
)
"""What a retry with feedback tells the model, unless the policy says it otherwise."""


class EarlyStop(Config):
    """Ends an answer whose last `window` tokens have a mean risk of at least `risk`.

    The risk is the detector's signal, turned so that it grows with risk. It is a window, because a
    single surprising token is no reason.

    Attributes:
        window: How many tokens the mean is of.
        risk: The limit, in the unit of the detector's signal.

    >>> EarlyStop(window=8, risk=3.0).window
    8
    """

    window: int = Field(ge=2, le=1_000_000)
    risk: float


class Rules(Config):
    """What decides, beside the limits, which answers come out: a policy's, and a profile's.

    Attributes:
        retries: How many further attempts there are after an answer that would be withheld. The
            least risky attempt is kept.
        retry: How each of them is made, in order; the last kind serves for all further ones.
        retry_temperature: The temperature of all further attempts.
        feedback_text: What a retry with feedback tells the model; {span} stands for the weak part.
        early_stop: A rule that ends a running answer.
        unscored: What happens to an answer that could not be located or scored.
        nothing_to_check: What happens to an answer with nothing in it that could be wrong (a
            greeting, code).

    >>> Rules(retries=1).differences(Rules(retry_temperature=1.0))
    ['retries 1, and this is 0']
    """

    retries: int = Field(default=0, ge=0, le=10)
    retry: tuple[RetryKind, ...] = Field(default=("resample",), min_length=1)
    retry_temperature: float = Field(default=0.7, gt=0)
    feedback_text: str = FEEDBACK
    early_stop: EarlyStop | None = None
    unscored: Unjudged = "withhold"
    nothing_to_check: Unjudged = "show"

    @property
    def rules(self) -> dict[str, Any]:
        """The rules alone, by their names: what another policy or profile takes over."""
        return {name: getattr(self, name) for name in Rules.model_fields}

    @checked
    def differences(self, other: Rules) -> list[str]:
        """Say in words by which rules other answers would come out than by these.

        Without retries it makes no difference how they would be made, nor what happens to an
        answer without a score: it is the same answer, shown or not.

        Args:
            other: The rules that are in use.

        Returns:
            One entry for each rule that differs, `name value, and this is value`; none if the
            same answers come out.

        """
        return differences(self._deciding(), other._deciding())

    def _deciding(self) -> dict[str, object]:
        """The rules that play a part, each by its name."""
        decide: dict[str, object] = {"retries": self.retries, "early_stop": self.early_stop}
        if self.retries:
            kinds = tuple(self.retry[min(n, len(self.retry) - 1)] for n in range(self.retries))
            names = ["retry_temperature", "unscored", "nothing_to_check"]
            names += ["feedback_text"] if "feedback" in kinds else []
            decide |= {"retry": kinds} | {name: getattr(self, name) for name in names}
        return decide


def differences(then: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Say in words what differs between two sets of settings, as far as both name it.

    Args:
        then: settings that something was made with, by name.
        now: settings that it is to be used with.

    Returns:
        One entry for each, in the order of `then`; none where all are equal.

    >>> differences({"n_ctx": 512, "seed": 1}, {"n_ctx": 4096})
    ['n_ctx 512, and this is 4096']

    """
    return [
        f"{name} {value!r}, and this is {now[name]!r}"
        for name, value in then.items()
        if name in now and now[name] != value
    ]


class Policy(Rules):
    """Thresholds and what follows from them, beside the rules for retries.

    Attributes:
        warn: At or above this risk an answer is shown with a warning. Without this limit, every
            answer that is shown has one.
        abstain: At or above this risk an answer is withheld. Without this limit, none is.
        on: What the risk is: the detector's `score`, or the `p_wrong` of a profile (0 to 1).
        detector: The detector that limits on scores belong to, by its name.
        model: The fingerprint of the model that limits on scores belong to.
        deadline_s: The time for everything together, in seconds.
        abstention_text: What the user sees in the place of a withheld answer.
        warning_text: What stands beside an answer that is shown with a warning.

    >>> Policy(detector="nll:max", warn=1.0, abstain=2.0).unscored
    'withhold'
    """

    detector: str | None = None
    model: str | None = None
    on: Literal["score", "p_wrong"] = "score"
    warn: float | None = None
    abstain: float | None = None
    deadline_s: float | None = Field(default=None, gt=0)
    abstention_text: str = "I am not sure enough to answer that."
    warning_text: str = "Please check this answer: I am not sure of it."

    @field_validator("detector")
    @classmethod
    def _known_detector(cls, value: str | None) -> str | None:
        return None if value is None else name_of(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.warn is not None and self.abstain is not None and self.warn > self.abstain:
            raise ValueError("warn must not be above abstain")
        limits = [limit for limit in (self.warn, self.abstain) if limit is not None]
        needs_detector = limits or self.early_stop
        if self.detector is None and self.on == "score" and needs_detector:
            raise ValueError("thresholds on scores need the detector that they belong to")
        if self.on == "p_wrong" and not all(0 <= limit <= 1 for limit in limits):
            raise ValueError("thresholds on p_wrong lie between 0 and 1")
        return self

    @checked
    def timed(self, request: Request) -> Request:
        """Start the clock of a request.

        Args:
            request: What is about to be asked.

        Returns:
            The request with the earlier of its own deadline and the policy's.

        """
        if self.deadline_s is None:
            return request
        deadline = time.monotonic() + self.deadline_s
        return replace(request, deadline=min(deadline, request.deadline or deadline))

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a policy from a file.

        Args:
            path: A file in TOML (.toml) or JSON.

        Raises:
            ConfigError: If the file cannot be read; it names a wrong key or value.

        """
        return cls(**read_config(path))

    @classmethod
    @checked
    def default(cls, detector: Scorer) -> Self:
        """Return the policy that holds if there is neither one nor a profile.

        Args:
            detector: What the limits are for.

        Returns:
            Limits that were set by hand, if there are some for this detector; otherwise a policy
            that warns of every answer.

        """
        limits: dict[str, Any] = _HAND_SET.get(detector.name, {})
        return cls(detector=detector.name, **limits)


def check_damping(policy: Policy, neurons: NeuronProbe | None) -> None:
    """Raise ConfigError for a policy that retries with damped neurons if none can be damped.

    Args:
        policy: The policy.
        neurons: The probe that whoever goes by it has.

    """
    if policy.retries and "damp" in policy.retry and not (neurons and neurons.h_neurons):
        why = "the probe has none (no positive weight)" if neurons else "there is no probe"
        raise ConfigError(
            f"the policy retries with H-neurons switched off, and {why}",
            'Give a probe as detector (neurons:FILE.json), or leave "damp" out of retry.',
        )


DEFAULT_DETECTOR: Final = "nll:max"

UNCALIBRATED: Final = "uncalibrated: the verdict rests on limits that were set by hand"
"""A note for whoever reads a result and sees no screen, which says it beside the verdict."""

_HAND_SET: Final = {"nll:max": {"warn": 1.0, "abstain": 2.0}}
