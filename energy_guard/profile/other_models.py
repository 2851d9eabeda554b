"""P(wrong) of a model that nobody has calibrated: what the answers of other models say.

The detector is made of features that mean the same for every model, and was judged by leaving out
one model and one task at a time (docs/results.md, "A probability that travels").
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field

from energy_guard.backends.base import ModelInfo
from energy_guard.config import Config, read_config
from energy_guard.fitted import FittedDetector, Term
from energy_guard.profile.calibration import Calibration
from energy_guard.profile.profile import Profile
from energy_guard.trace import SCHEMA

ENGINES: Final = frozenset({"llama-cpp", "transformers"})
"""Backends of real models that give all signals."""


class OwnTerms(Config):
    """What a model's own answers elsewhere tell of it.

    elsewhere: as of `OtherModels`, of this model. slope: how much its log-odds in the quiz count
    there, before that is added. terms: what its detector has besides.
    """

    elsewhere: float
    slope: float = Field(default=1.0, gt=0, le=1)
    terms: tuple[Term, ...] = ()


class OtherModels(Config):
    """A detector fitted to the answers of several models, and its P(wrong) on people's questions.

    models: their names. calibration, whole_answer: P(wrong) of a model of which nothing is known,
    of located answers and of others. elsewhere: by how much people's questions are harder than
    those of the built-in quiz at the same score, in log-odds, over the tasks of all models. own:
    what is known of each of them alone, by its fingerprint.
    """

    schema_: Literal[1] = Field(default=SCHEMA, alias="schema")
    models: tuple[str, ...] = Field(min_length=1)
    fitted: FittedDetector
    calibration: Calibration
    whole_answer: Calibration | None = None
    elsewhere: float
    own: Mapping[str, OwnTerms] = Field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read one from JSON; ConfigError names a wrong key."""
        return cls(**read_config(path))

    def level(self, curve: Calibration) -> float:
        """Return how much higher a curve is than that of the other models, in log-odds.

        Args:
            curve: Of this detector's scores; compared in the middle of those that are known.

        """
        middle = (self.calibration.lowest + self.calibration.highest) / 2
        return _height(curve, middle) - _height(self.calibration, middle)

    def profile_of(self, info: ModelInfo) -> Profile:
        """Return a profile of a model that is none of these, in a chat or in raw mode."""
        return Profile(
            model=info.fingerprint,
            backend=info.backend,
            mode=None,
            detector=self.fitted.name,
            fitted=self.fitted,
            locator="automatic",
            calibration=self.calibration,
            whole_answer=self.whole_answer,
            judged="every claim",
            p_wrong_from="other models",
        )


def _height(curve: Calibration, score: float) -> float:
    if curve.slope is None or curve.intercept is None:
        raise ValueError("a curve with knots has no height")
    return curve.slope * score + curve.intercept


@cache
def other_models() -> OtherModels:
    """Return the one that is shipped."""
    with as_file(files("energy_guard.data") / "other_models.json") as path:
        return OtherModels.read(path)
