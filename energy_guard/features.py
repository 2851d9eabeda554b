"""Numbers of one answer from which a fitted detector makes its score.

A feature is named by what it is made of: `span.nll:max` is a signal pooled over the located
tokens, `span.log_nll:max` the logarithm of that, `sentence.nll:max` one over the sentence that they
stand in, `answer.entropy:first` one over all content tokens, `PLAIN`, `ASKED` and `SUPPORT` list
others, and the name of a probe on neurons is the mean of its log-odds over the located tokens. Each
comes from one trace, its span and what was asked; nothing here knows another answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Final

import numpy as np

from energy_guard.asked_features import ASKED, asked_feature
from energy_guard.energy import Floats
from energy_guard.errors import ConfigError
from energy_guard.locate import Asked, Span
from energy_guard.locate.sentences import sentence_ranges, spoken
from energy_guard.locate.span import NOTHING_ASKED
from energy_guard.neuron_detector import is_neurons, mean_log_odds
from energy_guard.score import POOLINGS, usual_side
from energy_guard.support_features import SUPPORT, support_feature
from energy_guard.trace import SIGNALS, Trace


def features(
    trace: Trace, span: Span, names: Iterable[str], asked: Asked = NOTHING_ASKED
) -> Floats:
    """Return the named features in order, shape (names,).

    One is NaN if a row that it needs is missing, or if it is of what was asked and nobody says.

    Raises ConfigError for an unknown name, NormalisedRowsError as `Trace.signal` does.

    >>> from energy_guard.energy import Row
    >>> from energy_guard.trace import Step
    >>> trace = Trace.from_steps([Step(0, b"Hi", 1.5, Row(2.0, 0.0, 0.1, 1.0))])
    >>> features(trace, Span((0,), "Hi"), ["span.nll:max", "span.tokens"]).tolist()
    [0.5, 1.0]
    """
    made = _Made(trace, span, asked)
    return np.array([_feature(name)(made) for name in names], dtype=np.float64)


class _Made:
    """What the features of one span are made of; what several need is found once."""

    def __init__(self, trace: Trace, span: Span, asked: Asked) -> None:
        self.trace, self.span, self.asked = trace, span, asked
        signal, tokens = cache(trace.signal), cache(lambda part: _PARTS[part](trace, span))
        self.values = cache(lambda name, part: signal(name)[tokens(part)])  # no cycle with self


@cache
def check_name(name: str) -> None:
    """Raise ConfigError if there is no feature of this name."""
    part, _, rest = name.partition(".")
    signal, _, pooling = rest.partition(":")
    signals = (*SIGNALS, *(f"{_LOG}{own}" for own in _LOGARITHMIC))
    known = part in _PARTS and signal in signals and pooling in POOLINGS
    if not known and _is_pooled(name):
        others = ", ".join((*PLAIN, *ASKED, *SUPPORT))
        raise ConfigError(
            f"there is no feature {name!r}",
            f"span.SIGNAL:POOLING, sentence.…, answer.… or one of: {others}.",
        )


def signals_of(names: Sequence[str]) -> frozenset[str]:
    """Return the signals that features are made of.

    >>> sorted(signals_of(["span.nll:max", "answer.margin:mean", "span.tokens"]))
    ['margin', 'nll']
    """
    pooled = (_signal(name) for name in names if _is_pooled(name))
    plain = (_SIGNAL_OF_PLAIN[name] for name in names if name in _SIGNAL_OF_PLAIN)
    return frozenset((*pooled, *plain))


def difference(name: str, *, more: bool) -> str:
    """Say in a user's words how an answer differs from others in one feature.

    Args:
        name: The feature.
        more: Whether it is above that of all others; else below.

    Returns:
        A clause.

    >>> difference("answer.tokens", more=True)
    'the answer is longer than any that the profile was made from'
    """
    signal = _signal(name)
    if name in _DIFFERENCES:
        said = _DIFFERENCES[name][0 if more else 1]
    elif signal in _SURENESS:
        less = more == (usual_side(signal) == "high")
        said = _LESS_SURE if less else _SURER
    else:
        said = "the answer is unlike any"
    return f"{said} that the profile was made from"


def _is_pooled(name: str) -> bool:
    return not (name in PLAIN or name in ASKED or name in SUPPORT or is_neurons(name))


def _signal(name: str) -> str:
    """The signal that a pooled feature is made of."""
    return name.partition(".")[2].partition(":")[0].removeprefix(_LOG)


@cache
def _feature(name: str) -> Callable[[_Made], float]:
    """Return what computes a feature; a name is read once."""
    check_name(name)
    if name in PLAIN:
        plain = PLAIN[name]
        return lambda made: plain(made.trace, made.span)
    if name in ASKED:
        return lambda made: asked_feature(name, made.span, made.asked)
    if name in SUPPORT:
        return lambda made: support_feature(name, made.trace, made.span, made.asked)
    if is_neurons(name):
        return lambda made: mean_log_odds(made.trace, name, made.span.tokens)
    part, _, rest = name.partition(".")
    pool, signal = POOLINGS[rest.partition(":")[2]], _signal(name)
    if rest.startswith(_LOG):
        return lambda made: math.log(max(pool(made.values(signal, part)), 0.0) + _SUREST)
    return lambda made: pool(made.values(signal, part))


def _sentence(trace: Trace, span: Span) -> list[int]:
    """The located tokens, and those of the sentences that they stand in.

    What somebody says in a story is a sentence of its own: who says it, and how, is made up.
    """
    offsets = trace.alignment.offsets
    start, end = offsets[span.tokens[0]][0], offsets[span.tokens[-1]][1]
    said = [(a, b) for a, b in spoken(trace.text) if a <= start and end <= b]
    met = said or [(a, b) for a, b in sentence_ranges(trace.text) if a < end and b > start]
    first, last = (met[0][0], met[-1][1]) if met else (start, end)
    inside = (t for t, (a, b) in enumerate(offsets) if a < last and b > first)
    return sorted({*span.tokens, *inside})


def _doubtful(trace: Trace, span: Span) -> float:
    """The share of the span's tokens with a probability below 1/2."""
    return float((trace.nll[list(span.tokens)] > math.log(2)).mean())


def _distinct(trace: Trace, span: Span) -> float:
    """The share of the answer's tokens that are no repetition."""
    ids = trace.ids[: trace.content_end]
    return len(set(ids.tolist())) / len(ids)


def _prompt_energy(trace: Trace, span: Span) -> float:
    """−(log Σ exp f − mean f) of the first row: the centred marginal energy of the prompt."""
    return float(trace.row_mean[0] - trace.log_partition[0])


_LOG: Final = "log_"
_LOGARITHMIC: Final = ("nll", "entropy")
_SUREST: Final = 0.01
"""Nats below which a model is as sure as can be: added before a logarithm is taken, so that a nll
of 0.01 and one of 0.1 differ as those of 0.3 and 3 do, and smaller ones hardly."""

_PARTS: Final[Mapping[str, Callable[[Trace, Span], list[int]]]] = MappingProxyType(
    {
        "span": lambda trace, span: list(span.tokens),
        "sentence": _sentence,
        "answer": lambda trace, span: list(range(trace.content_end)),
    }
)
"""What signals are pooled over. The longer a text is, the less sure a model is of some word in it,
and the less that tells of one answer there; sentences are of about one length."""

PLAIN: Final[Mapping[str, Callable[[Trace, Span], float]]] = MappingProxyType(
    {
        "prompt.centred_marginal_energy": _prompt_energy,
        "span.tokens": lambda trace, span: float(len(span.tokens)),
        "span.share": lambda trace, span: len(span.tokens) / trace.content_end,
        "span.doubtful": _doubtful,
        "answer.tokens": lambda trace, span: float(trace.content_end),
        "answer.distinct": _distinct,
        "answer.ended": lambda trace, span: float(trace.finish_reason == "eos"),
    }
)
"""Features that are no pooled signal; tokens are counted, shares lie between 0 and 1."""

_SIGNAL_OF_PLAIN: Final[Mapping[str, str]] = MappingProxyType(
    {"prompt.centred_marginal_energy": "centred_marginal_energy", "span.doubtful": "nll"}
)
"""Those of them that a signal is needed for."""

_SURENESS: Final = frozenset({"nll", "entropy", "margin"})
"""Signals that say by themselves how sure a model was; an energy does so only beside others."""

_LESS_SURE: Final = "the model was less sure of this answer than of any"
_SURER: Final = "the model was surer of this answer than of any"

_DIFFERENCES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "prompt.centred_marginal_energy": ("the question is unlike any",) * 2,
        "span.tokens": (
            "the exact answer is longer than any",
            "the exact answer is shorter than any",
        ),
        "span.doubtful": (_LESS_SURE, _SURER),
        "answer.tokens": ("the answer is longer than any", "the answer is shorter than any"),
        "answer.distinct": (
            "the answer repeats itself less than any",
            "the answer repeats itself more than any",
        ),
    }
)
"""What is said of more and of less of a feature."""
