"""What was tested on labelled rows, and what it allows to promise: the record, not the test.

`energy_guard.calibrate.certify` makes it.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from energy_guard.config import Config
from energy_guard.estimates.estimate import Measured


class TestedThreshold(Config):
    """What happened to the answers below one threshold; `holds` if its risk is certified."""

    __test__ = False  # no test case, whatever pytest makes of the name

    threshold: float
    answered: int = Field(ge=0)
    wrong: int = Field(ge=0)
    risk: Measured
    coverage: Measured
    p_value: float = Field(ge=0, le=1)
    holds: bool


class Certificate(Config):
    """One look at labelled rows, and what it allows to promise.

    basis: a digest of all that decides which answers have a risk below a threshold
    (`Profile.basis`). rows: a digest of the questions with their labels and risks; n of them.
    max_risk: the share of wrong answers among those shown that is to be held at `confidence`,
    in all looks of a profile together; delta: what this one, the look-th, may spend of it.
    threshold: answers with a risk below it are shown; None: nothing can be promised.
    more_answers, more_rows: how many further answered rows, and so rows, would do if the error
    rate stays as it was; None if that is not known, or no number would do. least_abstention:
    any method without further assumptions abstains on at least this share, to hold max_risk
    with this model. reason: all that in words.
    """

    basis: str
    rows: str
    n: int = Field(ge=1)
    max_risk: float = Field(gt=0, lt=1)
    confidence: float = Field(gt=0, lt=1)
    look: int = Field(ge=1)
    delta: float = Field(gt=0, lt=1)
    tested: tuple[TestedThreshold, ...] = Field(min_length=1)
    threshold: float | None
    more_answers: int | None
    more_rows: int | None
    least_abstention: float = Field(ge=0, le=1)
    reason: str

    @model_validator(mode="after")
    def _threshold_holds(self) -> Self:
        if self.threshold is not None and not self.holds_at(self.threshold):
            raise ValueError("threshold is none of those that hold")
        return self

    def holds_at(self, threshold: float) -> bool:
        """Whether the promise covers the answers below this threshold."""
        return any(row.holds for row in self.tested if row.threshold == threshold)
