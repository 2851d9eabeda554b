"""How far an answer rests on its passages: what they do to its probability, and what is in none.

An answer that says what a passage says becomes much more probable when the passage is there; one
that the model would have given anyway does not. Both probabilities come from passes of one kind,
which `energy_guard.support` makes; they are compared with each other alone, as numbers of live
decoding differ from them by what kernels round. And a model that is asked whether its passages say
what it answered may doubt that, although it wrote every word without a doubt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from energy_guard.asked_features import given_passages, to_be_asked
from energy_guard.energy import Floats
from energy_guard.locate import Asked, Span
from energy_guard.locate.languages import LANGUAGES
from energy_guard.locate.sentences import sentence_ranges
from energy_guard.locate.words import WORD, stem
from energy_guard.trace import Trace

WITH: Final = "nll_with_passages"
WITHOUT: Final = "nll_without_passages"
"""Extra arrays of a trace: the nll of each token after the prompt, and after it without its
passages, in nats, shape (T,)."""

CONFIRMED: Final = "confirmed_log_odds"
"""Extra array of a trace: log p("Yes") − log p("No") of what the model would say next if it were
asked whether its passages say what it answered, in nats; one number, in every place, shape (T,)."""


@dataclass(frozen=True, slots=True)
class Support:
    """How far one answer rests on its passages.

    gain: by how much they raise the log-probability of a token of the exact answer, in nats, on
    average; None if that was not measured. elsewhere: its numbers and names that stand neither in
    a passage nor in the question. confirmed: log p("Yes") − log p("No") of the model when it is
    asked whether its passages say so, in nats; None if it was not asked.

    >>> Support(gain=1.5, elsewhere=("1987",)).elsewhere
    ('1987',)
    """

    gain: float | None
    elsewhere: tuple[str, ...]
    confirmed: float | None = None


def support_of(trace: Trace, span: Span, asked: Asked) -> Support | None:
    """Return how far an answer rests on its passages; None if it has none.

    Args:
        trace: Of the answer.
        span: The exact answer.
        asked: What was asked, with its passages.

    """
    if not asked.question or not given_passages(asked):
        return None
    gain = support_feature("support.gain:mean", trace, span, asked)
    elsewhere = numbers_and_names_elsewhere(span.text, asked)
    confirmed = float(trace.extras[CONFIRMED][0]) if CONFIRMED in trace.extras else None
    return Support(None if math.isnan(gain) else gain, elsewhere, confirmed)


def support_feature(name: str, trace: Trace, span: Span, asked: Asked) -> float:
    """Return one of `SUPPORT`: 0 without passages, NaN if there are some and nothing was measured.

    Args:
        name: The feature.
        trace: Of the answer.
        span: The words that are scored.
        asked: What was asked; NaN if nobody says.

    """
    if not asked.question:
        return math.nan
    if not given_passages(asked):
        return 0.0
    if name in BY_ASKING:
        if name == "support.asked" or not to_be_asked(asked):
            return float(to_be_asked(asked))
        return float(trace.extras[CONFIRMED][0]) if CONFIRMED in trace.extras else math.nan
    if WITH not in trace.extras or WITHOUT not in trace.extras:
        return math.nan
    at = list(span.tokens)
    return BY_READING[name](_Passes(trace.extras[WITH][at], trace.extras[WITHOUT][at], span, asked))


def numbers_and_names_elsewhere(text: str, asked: Asked) -> tuple[str, ...]:
    """Return the numbers and names of a text that stand neither in a passage nor in the question.

    A capital letter makes a name, but for that of an ordinary word that begins a sentence.

    >>> asked = Asked("Who built the mill?", passages=("Jonas Reed built it.",))
    >>> numbers_and_names_elsewhere("The mill was built by Jonas Reed in 1822.", asked)
    ('1822',)
    """
    known = {
        _key(match[0])
        for part in (asked.question, *asked.passages)
        for match in WORD.finditer(part)
    }
    known |= {piece for word in known for piece in word.split("-")}
    found = (word for word in _numbers_and_names(text) if _key(word) not in known)
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _Passes:
    """What the features are made of. given, alone: nll with and without the passages."""

    given: Floats
    alone: Floats
    span: Span
    asked: Asked

    @property
    def gain(self) -> Floats:
        return self.alone - self.given


def _numbers_and_names(text: str) -> Iterator[str]:
    for start, end in sentence_ranges(text):
        words = [match[0] for match in WORD.finditer(text, start, end)]
        for number, word in enumerate(words):
            if any(letter.isdigit() for letter in word):
                yield word
            elif word[0].isupper() and word.casefold() not in _SMALL:
                after = words[number + 1 : number + 2]
                if number or not after or after[0][0].isupper():
                    yield word


def _key(word: str) -> str:
    """What is the same of two ways to write a word: case, commas between digits, endings."""
    plain = word.replace(",", "") if any(letter.isdigit() for letter in word) else word
    return stem(plain.strip("$€£¥₹% "))


def _logarithm(nll: float) -> float:
    return math.log(max(float(nll), 0.0) + _SUREST)


_SMALL: Final = LANGUAGES["en"].function

BY_ASKING: Final = ("support.confirmed", "support.asked")
"""Features of what a model says if it is asked whether its passages say so: log-odds in nats, and
1 if there is something to be asked. Both are 0 of a choice, as a label does not stand in the text
that it is of, and if what stands before a question is called no passage: it may be what somebody
tells."""

BY_READING: Final[Mapping[str, Callable[[_Passes], float]]] = MappingProxyType(
    {
        "support.gain:mean": lambda read: float(read.gain.mean()),
        "support.gain:min": lambda read: float(read.gain.min()),
        "support.gain:max": lambda read: float(read.gain.max()),
        "support.with:max": lambda read: _logarithm(read.given.max()),
        "support.without:max": lambda read: _logarithm(read.alone.max()),
        "support.elsewhere": lambda read: math.log1p(
            len(numbers_and_names_elsewhere(read.span.text, read.asked))
        ),
    }
)
"""Features of what passages do to the words that are scored: nats, logarithms of nats, and
log(1 + n) of numbers and names that stand elsewhere."""

SUPPORT: Final = (*BY_READING, *BY_ASKING)
"""All of these features."""

_SUREST: Final = 0.01
"""Nats below which a model is as sure as can be, as in `energy_guard.features`."""
