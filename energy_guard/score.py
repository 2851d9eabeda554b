"""From the signals of an answer span to one number that grows with risk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import lt
from types import MappingProxyType
from typing import Final, Literal, Protocol, Self, runtime_checkable

import numpy as np

from energy_guard.arguments import checked
from energy_guard.energy import Floats, Row
from energy_guard.errors import ConfigError, NormalisedRowsError
from energy_guard.likeliest import TOP_ENTROPY
from energy_guard.locate import Asked, Located, NothingToCheck, NotLocated, Span
from energy_guard.locate.span import NOTHING_ASKED
from energy_guard.trace import SIGNALS, Step, Trace

RiskierSide = Literal["high", "low"]

Part = Literal["exact answer", "other claim", "whole answer"]
"""What a score is of: what the locator found, a word elsewhere, or all, as nothing was found."""

POOLINGS: Final[Mapping[str, Callable[[Floats], float]]] = MappingProxyType(
    {
        "max": lambda values: float(values.max()),
        "min": lambda values: float(values.min()),
        "mean": lambda values: float(values.mean()),
        "sum": lambda values: float(values.sum()),
        "first": lambda values: float(values[0]),
        "last": lambda values: float(values[-1]),
    }
)

_BLIND: Final = frozenset({"entropy", "margin", "marginal_energy", "centred_marginal_energy"})
"""Signals of a row alone: they say how sure the model was, not whether of the token that stands
there. Of a token that was forced on it (by a grammar, a bias, or as it is scored afterwards) they
say nothing."""

_FORCED: Final = 2.9
"""By how much (nats) a forced token's nll is above its row's entropy, which is the nll that a token
has on average if it is drawn. That of the most likely token is never above it."""

_LOW_IS_RISKIER: Final = frozenset({"margin", "token_logit"})


@runtime_checkable
class Scorer(Protocol):
    """What turns a located answer into a score: a `Detector` or a fitted combination.

    signal: the one that is shown token by token, as evidence.
    """

    @property
    def name(self) -> str:
        """Identifies it in profiles and results."""
        ...

    @property
    def signal(self) -> str:
        """Name of a signal of one token."""
        ...

    @property
    def needs(self) -> frozenset[str]:
        """Signals without which there is no score."""
        ...

    @property
    def per_token(self) -> bool:
        """Whether a threshold on the score means something for the signal of one token, too."""
        ...

    @property
    def needs_support(self) -> frozenset[str]:
        """The features of support without which it gives an answer over passages no score."""
        ...

    @property
    def needs_exact(self) -> bool:
        """Whether it gives no score to an answer in which no exact answer was found."""
        ...

    def score(
        self, trace: Trace, located: Located, asked: Asked = NOTHING_ASKED
    ) -> Score | Unscored:
        """Score a span of a trace; Unscored if anything that it needs is missing."""
        ...

    def risk(self, value: float) -> float:
        """Turn a value of the signal so that it grows with risk."""
        ...

    def token_risk(self, step: Step, next_row: Row | None) -> float | None:
        """Return the risk of one token while text streams; None if its next row is missing."""
        ...


@dataclass(frozen=True, slots=True)
class Unlike:
    """How an answer differs from all that a detector was made from.

    riskier: what lies outside of them speaks, all in all, for a wrong answer. reason: in words,
    such as stand behind "and P(wrong) is not known of such answers".

    >>> Unlike(riskier=True, reason="less sure").riskier
    True
    """

    riskier: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Score:
    """A detector's verdictless number for one span; higher is riskier.

    values: the signal at each token of the span, as evidence, with the signal's own sign.
    unlike: how the answer differs from all that the detector was fitted on, so that the score
    gives no P(wrong); None if it does not.
    part: what of the answer the span is. exact: the score of the exact answer, if another claim
    is the one that decides.
    """

    value: float
    detector: Scorer
    span: Span
    values: tuple[float, ...]
    unlike: Unlike | None = None
    part: Part = "exact answer"
    exact: Score | None = None

    @property
    def length(self) -> int:
        """How many tokens the exact answer has, whatever part decides."""
        return len((self.exact or self).span.tokens)

    @property
    def weakest_token(self) -> int:
        """Index of the riskiest token of the span."""
        risks = [self.detector.risk(value) for value in self.values]
        return self.span.tokens[risks.index(max(risks))]


@dataclass(frozen=True, slots=True)
class Unscored:
    """There is no score, and why: never 0, and never a reason to accept.

    nothing_to_check: there is nothing in the answer that could be wrong. withheld: the answer
    is not to be shown, whatever the policy says of answers without a score.

    >>> Unscored("the row after the last token is missing").reason
    'the row after the last token is missing'
    """

    reason: str
    nothing_to_check: bool = False
    withheld: bool = False


@dataclass(frozen=True, slots=True)
class Detector:
    """A signal, a pooling over the span and the riskier side.

    Written `signal:pooling`, or `signal:pooling:low` for a side other than the usual one: low
    is riskier for margin and token_logit, high for all else. Raises ConfigError for unknown
    names.

    >>> Detector.parse("nll:max")
    Detector(signal='nll', pooling='max', riskier='high')
    """

    signal: str
    pooling: str
    riskier: RiskierSide

    def __post_init__(self) -> None:
        for what, value, allowed in (
            ("signal", self.signal, SIGNALS),
            ("pooling", self.pooling, tuple(POOLINGS)),
            ("riskier side", self.riskier, ("high", "low")),
        ):
            if value not in allowed:
                raise ConfigError(
                    f"unknown detector: there is no {what} {value!r}",
                    f"A detector is written signal:pooling. {what}: {', '.join(allowed)}.",
                )

    @classmethod
    @checked
    def parse(cls, text: str) -> Self:
        """Read `signal:pooling` or `signal:pooling:side`."""
        signal, _, rest = text.partition(":")
        pooling, _, side = rest.partition(":")
        riskier = side or usual_side(signal)
        return cls(signal, pooling, riskier)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """The text that `parse` reads."""
        usual = self.riskier == usual_side(self.signal)
        return f"{self.signal}:{self.pooling}" + ("" if usual else f":{self.riskier}")

    @property
    def needs(self) -> frozenset[str]:
        """Its signal."""
        return frozenset({self.signal})

    @property
    def per_token(self) -> bool:
        """Not for a sum over tokens."""
        return self.pooling != "sum"

    @property
    def needs_support(self) -> frozenset[str]:
        """A signal of live decoding knows of no passages."""
        return frozenset()

    @property
    def needs_exact(self) -> bool:
        """All tokens have the signal."""
        return False

    def score(
        self, trace: Trace, located: Located, asked: Asked = NOTHING_ASKED
    ) -> Score | Unscored:
        """Score a span of a trace, whatever was asked; Unscored if a number of it is missing."""
        span = to_score(trace, located)
        if isinstance(span, Unscored):
            return span
        try:
            values = trace.signal(self.signal)[list(span.tokens)]
        except NormalisedRowsError as error:
            return Unscored(error.message)
        if not np.all(np.isfinite(values)):
            return Unscored(f"{self.signal} is missing for a token of the answer")
        if self.signal in _BLIND and _is_forced(trace, span):
            return Unscored(
                f"the model did not choose all words of this itself, and {self.signal} says "
                "nothing of words that were forced on it"
            )
        pooled = POOLINGS[self.pooling](values)
        return Score(self.risk(pooled), self, span, tuple(values.tolist()))

    def risk(self, value: float) -> float:
        """Turn a value of the signal so that it grows with risk."""
        return value if self.riskier == "high" else -value

    def token_risk(self, step: Step, next_row: Row | None) -> float | None:
        """Return the risk of one token while text streams; None if its next row is missing."""
        value = step.signal(self.signal, next_row)
        return self.risk(value) if math.isfinite(value) else None


def _is_forced(trace: Trace, span: Span) -> bool:
    """Whether a token of a span is less likely than the uncertainty of its row explains."""
    tokens = list(span.tokens)
    # Where the row is not known, what its likeliest tokens have of its entropy is less than all.
    entropy = trace.extras.get(TOP_ENTROPY, trace.signal("entropy"))
    beyond = trace.signal("nll")[tokens] - entropy[tokens]
    return not bool(np.all(beyond < _FORCED))


def no_span(located: NotLocated | NothingToCheck) -> Unscored:
    """Why there is no score if there is no span."""
    if isinstance(located, NothingToCheck):
        return Unscored(f"nothing to check: {located.reason}", nothing_to_check=True)
    return Unscored(f"no answer found: {located.reason}")


def to_score(trace: Trace, located: Located) -> Span | Unscored:
    """Return the span that a score is to be of; or why there is none that is one of this trace."""
    if not isinstance(located, Span):
        return no_span(located)
    tokens = located.tokens
    if tokens and tokens[0] >= 0 and all(map(lt, tokens, tokens[1:])) and tokens[-1] < len(trace):
        return located
    return Unscored("the span's tokens are not tokens of the trace, in order")


def usual_side(signal: str) -> RiskierSide:
    """Which side of a signal is riskier if nobody says otherwise."""
    return "low" if signal in _LOW_IS_RISKIER else "high"


def worst(risks: Iterable[float | None]) -> float | None:
    """Return the highest risk; None if one is missing, as it might be the highest."""
    known = list(risks)
    return None if None in known else max(risk for risk in known if risk is not None)
