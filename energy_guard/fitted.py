"""A detector fitted to labelled answers: a weighted sum of features, kept as plain numbers.

It scores one answer alone: how each feature is centred and scaled was frozen at fitting. How it
is fitted is in `energy_guard.calibrate.detector`.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from energy_guard.asked_features import ASKED
from energy_guard.config import Config, read_config
from energy_guard.energy import Floats, Row
from energy_guard.errors import NormalisedRowsError
from energy_guard.features import check_name, difference, features, signals_of
from energy_guard.locate import Asked, Located
from energy_guard.locate.span import NOTHING_ASKED
from energy_guard.neuron_detector import UNWATCHED, is_neurons
from energy_guard.score import Score, Unlike, Unscored, to_score
from energy_guard.support_features import SUPPORT
from energy_guard.trace import SCHEMA, Step, Trace

MARGIN: Final = 0.25
"""How far beyond the answers seen a feature may lie, as a share of their range: strictly within it,
one new answer in nine would be left out, so many features are there; so, one in a hundred."""

LIMIT: Final = 4.0
"""Scaled features are cut off here, so that no single one decides far outside the training."""


class Term(Config):
    """One feature with its weight: weight · clip((feature − centre) / scale, ±4).

    low, high: the range of the feature in the answers that a profile was made from; None if
    there is no profile yet. if_unknown: what stands for a value that is not known, so that the
    score is right on average; None if there is no score without it.

    >>> Term(feature="span.nll:max", centre=1, scale=2, weight=0.5).weight
    0.5
    """

    feature: str
    centre: float
    scale: float = Field(gt=0)
    weight: float
    low: float | None = None
    high: float | None = None
    if_unknown: float | None = None

    @field_validator("feature")
    @classmethod
    def _known(cls, value: str) -> str:
        check_name(value)
        return value

    @model_serializer(mode="wrap")
    def _as_before(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what earlier versions lacked: certificates hold a digest of the text."""
        written: dict[str, Any] = serialize(self)
        if self.if_unknown is None:
            written.pop("if_unknown", None)
        return written

    @model_validator(mode="after")
    def _whole_range(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high come together, or neither is known")
        return self

    def beyond(self, value: float) -> float:
        """Return how far a value lies outside the answers that are known, with `MARGIN` to spare.

        Args:
            value: The feature in another answer, in its own unit.

        Returns:
            Its distance in units of `scale`: negative below the range, positive above it, and 0
            inside or without a range.

        >>> Term(feature="span.tokens", centre=0, scale=2, weight=1, low=1, high=9).beyond(14)
        1.5
        """
        if self.low is None or self.high is None:
            return 0.0
        room = MARGIN * (self.high - self.low)
        inside = min(max(value, self.low - room), self.high + room)
        return (value - inside) / self.scale


class DetectorTraining(Config):
    """What a detector was fitted on: the tasks, and how many answers were wrong of how many.

    >>> DetectorTraining(tasks=("capitals",), n=200, n_wrong=80).n
    200
    """

    tasks: tuple[str, ...]
    n: int = Field(ge=2)
    n_wrong: int = Field(ge=1)


class FittedDetector(Config):
    """The sum of its terms, in log-odds of being wrong where right and wrong are equally many.

    It stands where a `Detector` stands. Token by token it shows the nll.

    >>> detector = FittedDetector(
    ...     terms=[Term(feature="span.nll:max", centre=1, scale=2, weight=1)],
    ...     intercept=0, training=DetectorTraining(tasks=("t",), n=9, n_wrong=4))
    >>> float(detector.log_odds(np.array([3.0])))
    1.0
    """

    schema_: Literal[1] = Field(default=SCHEMA, alias="schema")
    terms: tuple[Term, ...] = Field(min_length=1)
    intercept: float
    training: DetectorTraining

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a detector from JSON or TOML; ConfigError names a wrong key."""
        return cls(**read_config(path))

    @property
    def name(self) -> str:
        """`fitted:` and a digest of its numbers."""
        numbers = [
            [t.feature, t.centre, t.scale, t.weight]
            + ([] if t.if_unknown is None else [t.if_unknown])
            for t in self.terms
        ]
        text = json.dumps([numbers, self.intercept])
        return f"fitted:{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def signal(self) -> str:
        """The signal that is shown token by token."""
        return "nll"

    @property
    def needs(self) -> frozenset[str]:
        """The signals that its features are made of, and the one that is shown."""
        return signals_of(self.names) | {self.signal}

    @property
    def needs_asked(self) -> bool:
        """Whether it gives no score if nobody says what was asked."""
        return any(name in ASKED or name in SUPPORT for name in self.names)

    @property
    def needs_support(self) -> frozenset[str]:
        """The features of support without which it gives an answer over passages no score."""
        return frozenset(self.names).intersection(SUPPORT)

    @property
    def needs_exact(self) -> bool:
        """Whether one of its features is a probe's, which was fitted to exact answers."""
        return any(is_neurons(name) for name in self.names)

    @property
    def per_token(self) -> bool:
        """Its log-odds are no signal of a token."""
        return False

    @property
    def names(self) -> tuple[str, ...]:
        """Its features, in order."""
        return tuple(term.feature for term in self.terms)

    def score(
        self, trace: Trace, located: Located, asked: Asked = NOTHING_ASKED
    ) -> Score | Unscored:
        """Score a span of a trace; Unscored if anything that it needs is missing."""
        span = to_score(trace, located)
        if isinstance(span, Unscored):
            return span
        of_text = ("answer.", "sentence.", "span.share")
        content = [name for name in self.names if name.startswith(of_text)]
        if content and trace.content_end == 0:
            return Unscored(f"{content[0]} is of the text, and the trace has none")
        try:
            values = features(trace, span, self.names, asked)
        except NormalisedRowsError as error:
            return Unscored(error.message)
        values = np.where(np.isnan(values), self._if_unknown(), values)
        if not np.all(np.isfinite(values)):
            missing = self.names[int(np.argmin(np.isfinite(values)))]
            if missing in SUPPORT and asked.question:
                return Unscored("how far the passages support the answer was not measured")
            if missing in ASKED or missing in SUPPORT:
                return Unscored("what was asked is not known, and this detector needs it")
            if is_neurons(missing):
                return Unscored(UNWATCHED)
            return Unscored(f"{missing} is missing for this answer")
        shown = trace.signal(self.signal)[list(span.tokens)]
        tokens = tuple(shown.tolist())
        return Score(float(self.log_odds(values)), self, span, tokens, self._unlike(values))

    def log_odds(self, values: Floats) -> Floats:
        """Return the sum for features in the order of `names`, shape (…, names) → (…)."""
        scaled = (values - self._column("centre")) / self._column("scale")
        total: Floats = np.clip(scaled, -LIMIT, LIMIT) @ self._column("weight") + self.intercept
        return total

    def knowing(self, values: Floats) -> Self:
        """Return the detector with the range of each feature in these answers, (n, names).

        What was asked has none: a longer passage or another kind of question is nothing unusual,
        and how its answers go is in the weights.
        """
        ranges = zip(values.min(axis=0).tolist(), values.max(axis=0).tolist(), strict=True)
        terms = tuple(
            term if term.feature in ASKED else term.model_copy(update={"low": low, "high": high})
            for term, (low, high) in zip(self.terms, ranges, strict=True)
        )
        return self.model_copy(update={"terms": terms})

    def _unlike(self, values: Floats) -> Unlike | None:
        """How an answer differs from all that the detector knows, and on which side; or None.

        What lies outside speaks for a wrong answer by its weight, as far as it lies outside. It is
        not cut off at `LIMIT` here: it only has to outweigh what speaks for the other side.
        """
        beyond = np.array([t.beyond(v) for t, v in zip(self.terms, values.tolist(), strict=True)])
        outside = np.flatnonzero(beyond)
        if not len(outside):
            return None
        pushes = beyond * self._column("weight")
        riskier = bool(pushes.sum() > 0)
        most = outside[np.argmax(pushes[outside] if riskier else -pushes[outside])]
        return Unlike(riskier, difference(self.names[most], more=bool(beyond[most] > 0)))

    def risk(self, value: float) -> float:
        """The nll grows with risk as it is."""
        return value

    def token_risk(self, step: Step, next_row: Row | None) -> float | None:
        """Return the nll of one token while text streams."""
        value = step.signal(self.signal, next_row)
        return value if math.isfinite(value) else None

    def _if_unknown(self) -> Floats:
        """What stands for values that are not known; NaN for those that have to be."""
        return np.array([math.nan if t.if_unknown is None else t.if_unknown for t in self.terms])

    def _column(self, key: str) -> Floats:
        return np.array([getattr(term, key) for term in self.terms], dtype=np.float64)
