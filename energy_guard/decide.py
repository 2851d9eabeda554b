"""What to do with what came out: a policy, the attempts so far → the next move.

Pure: no engine, no text formatting. `guard` and every integration loop over `next_move`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from energy_guard.config import Config, read_config
from energy_guard.locate import Located
from energy_guard.score import Detector, Score, Unscored
from energy_guard.trace import Trace

Verdict = Literal["accept", "warn", "abstain", "unscored"]
"""Final; a retry is a move, not a verdict."""


class Policy(Config):
    """Thresholds and what follows from them.

    warn, abstain: at or above this risk. Without `warn` every answer that is shown carries a
    warning; without `abstain` none is withheld. on: the risk is the detector's score, or
    P(wrong) of a profile. detector, model: what thresholds on scores belong to. unscored: what
    happens to an answer that could not be scored. retries: further attempts, with a fresh seed
    and `retry_temperature`, after an answer that would be withheld; the least risky is kept.

    >>> Policy(detector="nll:max", warn=1.0, abstain=2.0).unscored
    'withhold'
    """

    detector: str | None = None
    model: str | None = None
    on: Literal["score", "p_wrong"] = "score"
    warn: float | None = None
    abstain: float | None = None
    unscored: Literal["withhold", "show"] = "withhold"
    retries: int = Field(default=0, ge=0, le=10)
    retry_temperature: float = Field(default=0.7, gt=0)
    abstention_text: str = "I am not sure enough to answer that."

    @field_validator("detector")
    @classmethod
    def _known_detector(cls, value: str | None) -> str | None:
        return None if value is None else Detector.parse(value).name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.warn is not None and self.abstain is not None and self.warn > self.abstain:
            raise ValueError("warn must not be above abstain")
        limits = [limit for limit in (self.warn, self.abstain) if limit is not None]
        if self.on == "score" and limits and self.detector is None:
            raise ValueError("thresholds on scores need the detector that they belong to")
        if self.on == "p_wrong" and not all(0 <= limit <= 1 for limit in limits):
            raise ValueError("thresholds on p_wrong lie between 0 and 1")
        return self

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a policy from TOML or JSON; ConfigError names a wrong key."""
        return cls(**read_config(path))

    @classmethod
    def default(cls, detector: Detector, calibrated: bool = False) -> Self:
        """The policy where the user gives none.

        With a profile: answer where P(right) > 1/2, warn below 3/4. Without: hand-set thresholds
        where we have some for this detector, else a warning on every answer.
        """
        if calibrated:
            return cls(on="p_wrong", warn=0.25, abstain=0.5)
        limits: dict[str, Any] = _HAND_SET.get(detector.name, {})
        return cls(detector=detector.name, **limits)


DEFAULT_DETECTOR: Final = "nll:max"

_HAND_SET: Final = {"nll:max": {"warn": 1.0, "abstain": 2.0}}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One answer with what was found in it. p_wrong is None where nothing calibrated it."""

    trace: Trace
    located: Located
    score: Score | Unscored
    p_wrong: float | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a retry does differently, as data; None leaves a setting as it is."""

    temperature: float | None = None
    fresh_seed: bool = False


@dataclass(frozen=True, slots=True)
class Accept:
    """Show the answer of attempt number `attempt`."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Warn:
    """Show the answer, with a warning beside it."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Abstain:
    """Do not show the answer."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class NotScored:
    """Nothing is known of the answer's risk; `show` says whether it is shown all the same."""

    attempt: int
    reason: str
    show: bool


@dataclass(frozen=True, slots=True)
class Again:
    """Try once more."""

    changes: Changes
    reason: str


FinalMove = Accept | Warn | Abstain | NotScored
Move = FinalMove | Again


def next_move(policy: Policy, attempts: Sequence[Attempt]) -> Move:
    """Decide after the last of `attempts` (at least one)."""
    last = attempts[-1]
    complete = last.trace.finish_reason not in ("cancelled", "deadline", "closed")
    if complete and len(attempts) <= policy.retries and _withheld(policy, last):
        changes = Changes(temperature=policy.retry_temperature, fresh_seed=True)
        return Again(changes, f"attempt {len(attempts)} would be withheld")
    risks = [(risk, i) for i, a in enumerate(attempts) if (risk := _risk(policy, a)) is not None]
    if not risks:
        return NotScored(len(attempts) - 1, _why_unscored(last), policy.unscored == "show")
    risk, best = min(risks)
    what = _describe(policy, attempts[best], risk)
    if policy.abstain is not None and risk >= policy.abstain:
        return Abstain(best, f"{what}, at or above the limit of {policy.abstain:g}")
    if policy.warn is None:
        return Warn(best, f"{what}; no threshold is known for it")
    if risk >= policy.warn:
        return Warn(best, f"{what}, at or above the warning limit of {policy.warn:g}")
    return Accept(best, f"{what}, below the warning limit of {policy.warn:g}")


def _risk(policy: Policy, attempt: Attempt) -> float | None:
    if isinstance(attempt.score, Unscored):
        return None
    return attempt.p_wrong if policy.on == "p_wrong" else attempt.score.value


def _withheld(policy: Policy, attempt: Attempt) -> bool:
    risk = _risk(policy, attempt)
    if risk is None:
        return policy.unscored == "withhold"
    return policy.abstain is not None and risk >= policy.abstain


def _why_unscored(attempt: Attempt) -> str:
    if isinstance(attempt.score, Unscored):
        return attempt.score.reason
    return "the score is outside the range that the profile was fitted on"


def _describe(policy: Policy, attempt: Attempt, risk: float) -> str:
    """The reason in words: what was measured, and at which part of the answer."""
    if isinstance(attempt.score, Unscored):
        return "not scored"
    detector, span = attempt.score.detector, attempt.score.span
    if policy.on == "p_wrong":
        return f"P(wrong) of “{_short(span.text)}” is {risk:.2f}"
    weakest = max(range(len(span.tokens)), key=lambda i: detector.risk(attempt.score.values[i]))  # type: ignore[union-attr]
    token = attempt.trace.alignment.texts[span.tokens[weakest]].strip()
    at = f" (weakest at “{token}”)" if token and token != span.text else ""
    return f"{detector.name} of “{_short(span.text)}” is {risk:.2f}{at}"


def _short(text: str, limit: int = 60) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= limit else one_line[: limit - 1] + "…"
