"""A probe on neurons as a detector: the log-odds of "wrong", averaged over the exact answer.

What it needs was put into the trace while the answer was written: `energy_guard.neurons.watch`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from energy_guard.energy import Row
from energy_guard.errors import ConfigError
from energy_guard.locate import Asked, Located
from energy_guard.locate.span import NOTHING_ASKED
from energy_guard.neurons.probe import NAMED, NeuronProbe
from energy_guard.score import Detector, Score, Scorer, Unscored, to_score
from energy_guard.trace import Step, Trace

UNWATCHED: Final = "what neurons contribute was not measured for a token of the answer"
"""Why there is no score of an answer that was written without watching, or of its end token."""


@dataclass(frozen=True, slots=True)
class NeuronDetector:
    """A probe that stands where a `Detector` stands. Token by token it shows the nll.

    Its score is `NeuronProbe.log_odds` of the words that are scored. An answer in which no exact
    answer was found has none: the probe was fitted to exact answers.
    """

    probe: NeuronProbe

    @property
    def name(self) -> str:
        """The probe's."""
        return self.probe.name

    @property
    def signal(self) -> str:
        """The signal that is shown token by token."""
        return "nll"

    @property
    def needs(self) -> frozenset[str]:
        """The signal that is shown."""
        return frozenset({self.signal})

    @property
    def per_token(self) -> bool:
        """Its log-odds are no signal of a token."""
        return False

    @property
    def needs_support(self) -> frozenset[str]:
        """Neurons know of no passages."""
        return frozenset()

    @property
    def needs_exact(self) -> bool:
        """It was fitted to exact answers."""
        return True

    def score(
        self, trace: Trace, located: Located, asked: Asked = NOTHING_ASKED
    ) -> Score | Unscored:
        """Score a span of a trace, whatever was asked; Unscored if it was not watched."""
        span = to_score(trace, located)
        if isinstance(span, Unscored):
            return span
        value = mean_log_odds(trace, self.name, span.tokens)
        if not math.isfinite(value):
            return Unscored(UNWATCHED)
        shown = trace.signal(self.signal)[list(span.tokens)]
        return Score(value, self, span, tuple(shown.tolist()))

    def risk(self, value: float) -> float:
        """The nll grows with risk as it is."""
        return value

    def token_risk(self, step: Step, next_row: Row | None) -> float | None:
        """Return the nll of one token while text streams."""
        value = step.signal(self.signal, next_row)
        return value if math.isfinite(value) else None


def scorer_named(text: str) -> Scorer:
    """Return a detector by what a user writes: see `Detector.parse`, or `neurons:` and a file.

    Raises:
        ConfigError: There is no such detector, or no probe in the file.

    >>> scorer_named("nll:max").name
    'nll:max'
    """
    if not text.startswith(NAMED):
        return Detector.parse(text)
    file = text.removeprefix(NAMED)
    if is_neurons(text) and not Path(file).exists():
        raise ConfigError(
            f"{text} is the name of a probe, and its numbers are in a file",
            "Give the probe itself, or neurons:FILE.json, as the detector beside a policy.",
        )
    return NeuronDetector(NeuronProbe.read(file))


def name_of(text: str) -> str:
    """Return the name of a detector as policies and profiles have it; a probe's own stays as it is.

    Raises:
        ConfigError: There is no such detector, or no probe in the file.

    """
    return text if is_neurons(text) else scorer_named(text).name


def mean_log_odds(trace: Trace, name: str, tokens: Sequence[int]) -> float:
    """Return the log-odds of some tokens by the probe of this name; NaN if one was not watched."""
    values = trace.extras.get(name)
    return math.nan if values is None else float(values[list(tokens)].mean())


def is_neurons(name: str) -> bool:
    """Whether a name is a probe's own."""
    return _DIGEST.fullmatch(name) is not None


_DIGEST: Final = re.compile(rf"{NAMED}[0-9a-f]{{12}}")
