"""From a score to the probability that the answer is wrong, and what that depends on.

A profile belongs to one model file, one detector, one way of asking. It is refused where
these do not match. Fitting profiles from labelled answers is not part of this module yet.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from energy_guard.config import Config, read_config
from energy_guard.errors import MismatchError
from energy_guard.score import Detector
from energy_guard.trace import SCHEMA


class Calibration(Config):
    """P(wrong) = logistic(slope · score + intercept), clipped to [1/(n+2), 1 − 1/(n+2)].

    n: answers it was fitted on, n_wrong of them wrong. lowest, highest: the range of scores
    seen then; outside of it there is no probability.

    >>> Calibration(slope=1, intercept=0, n=98, n_wrong=50, lowest=-3, highest=3).p_wrong(0.0)
    0.5
    """

    slope: float = Field(ge=0)
    intercept: float
    n: int = Field(ge=2)
    n_wrong: int = Field(ge=1)
    lowest: float
    highest: float

    @model_validator(mode="after")
    def _both_classes(self) -> Self:
        if self.n_wrong >= self.n:
            raise ValueError("n_wrong must be below n: a calibration needs right answers too")
        return self

    def p_wrong(self, score: float) -> float | None:
        """Return P(wrong), or None outside the range that was fitted."""
        if not self.lowest <= score <= self.highest:
            return None
        odds = self.slope * score + self.intercept
        p = 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))
        edge = 1 / (self.n + 2)
        return min(max(p, edge), 1 - edge)


class Profile(Config):
    """A calibration with what it depends on.

    model: fingerprint of weights, quantisation and adapters. mode: chat or raw. retries: how
    many retries were allowed when it was made. scoring: token by token (live and replayed are
    one way) or `fast`.

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
    calibration: Calibration

    @field_validator("detector")
    @classmethod
    def _known_detector(cls, value: str) -> str:
        return Detector.parse(value).name

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a profile from JSON or TOML; ConfigError names a wrong key."""
        return cls(**read_config(path))

    def check(self, **actual: str | int) -> None:
        """Raise MismatchError where what the profile depends on is not what is in use.

        actual: any of model, backend, mode, detector, locator, scoring, retries.
        """
        for key, value in actual.items():
            expected = getattr(self, key)
            if expected != value:
                raise MismatchError(
                    f"the profile was made with {key} {expected!r}, and this is {value!r}",
                    "Use it as it was made, or make a profile for this case.",
                )
