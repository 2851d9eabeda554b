"""Numbers of what was asked: the question's kind, its passages, and whose words an answer repeats.

How sure a model is means one thing of a date and another of a sum, and nothing of a passage that
does not hold the answer. These tell them apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from energy_guard.locate import Asked, Span
from energy_guard.locate.languages import LANGUAGES
from energy_guard.locate.question import (
    claim_in,
    passage_in,
    read_question,
    without_examples,
)
from energy_guard.locate.sentences import sentence_ranges
from energy_guard.locate.words import WORD, stem

Words = frozenset[str]

_MOST_WORDS: Final = 400
"""Different words of passages beyond which more of them make no difference."""


def asked_feature(name: str, span: Span, asked: Asked) -> float:
    """Return one of `ASKED`; NaN if nobody said what was asked.

    >>> asked_feature("asked.yes_or_no", Span((0,), "Yes"), Asked("Is York in Wales?"))
    1.0
    """
    if not asked.question:
        return math.nan
    return ASKED[name](span, _read(asked.question, asked.choices, asked.passages))


def given_passages(asked: Asked) -> tuple[str, ...]:
    """Return what the answer should rest on: passages beside the question, and one inside it.

    What stands before the question of a sum, or of a choice, belongs to it, unless it is marked as
    a passage.

    >>> given_passages(Asked("Who built it?", passages=("Jonas Reed built the mill.",)))
    ('Jonas Reed built the mill.',)
    """
    own = asked.choices or _is_sum(asked.question, asked.passages)
    inside = passage_in(asked.question)
    if own and not _MARKED.match(inside):
        inside = ""
    return (*asked.passages, *([inside] if inside else ()))


def told_passages(asked: Asked) -> tuple[str, ...]:
    """Return the passages that somebody called so: beside the question, or marked inside it.

    >>> told_passages(Asked("I have been tired for weeks and slept badly. What helps?"))
    ()
    """
    inside = passage_in(asked.question)
    return (*asked.passages, *([inside] if _MARKED_INSIDE.search(inside) else ()))


def to_be_asked(asked: Asked) -> bool:
    """Whether a model can be asked if its passages say what it answered.

    A label does not stand in the text that it is of.
    """
    return not asked.choices and bool(told_passages(asked))


@dataclass(frozen=True, slots=True)
class _Read:
    """What was asked, as all features of it need it.

    kind: what is asked for. claim: what the asker wants to be told is so; empty if nothing.
    about_text: it is a choice about a text that is given. words: how many the question has.
    question, passages: the words of either that say something. nearest: those of the passages'
    sentence that has most of the question's. given: whether there are passages.
    """

    kind: str
    claim: str
    about_text: bool
    words: int
    question: Words
    passages: Words
    nearest: Words
    given: bool


@lru_cache(maxsize=64)
def _read(question: str, choices: tuple[str, ...], passages: tuple[str, ...]) -> _Read:
    """Read what was asked once: every sentence of an answer is scored, and passages are long."""
    form = read_question(question)
    is_sum = _is_sum(question, passages)
    given = given_passages(Asked(question, choices, passages=passages))
    sentences = [_words(text[start:end]) for text in given for start, end in sentence_ranges(text)]
    wanted = _words(form.text)
    return _Read(
        kind="choice" if choices else "sum" if is_sum else form.kind,
        claim=claim_in(question) if form.claims else "",
        about_text=bool(choices) and _has_text(question, passages),
        words=len(WORD.findall(form.text)),
        question=wanted,
        passages=frozenset().union(*sentences),
        nearest=max(sentences, key=lambda words: len(words & wanted), default=frozenset()),
        given=bool(given),
    )


def _agrees(text: str, claim: str) -> bool:
    """Whether words confirm a claim: by a yes, or as they say it again."""
    said, denials = _words(text), len(_DENIES.findall(claim))
    again = bool(said) and said <= _words(claim)
    return _AGREES.match(text) is not None or (again and len(_DENIES.findall(text)) == denials)


def _is(kind: str) -> Callable[[Span, _Read], float]:
    return lambda _, read: float(read.kind == kind)


def _has_text(question: str, passages: tuple[str, ...]) -> bool:
    """Whether a text comes with a question: a passage, what stands before it, or a quotation."""
    own = without_examples(question)
    before, _, _ = own.partition(read_question(question).text)
    told = len(WORD.findall(before)) >= _FEWEST_WORDS
    return bool(passages) or told or any(_is_text(quoted) for quoted in _QUOTED.findall(own))


def _is_text(quoted: str) -> bool:
    """Whether quoted words are somebody's: those of a title mostly begin with capital letters."""
    words = WORD.findall(quoted)
    if len(words) < _FEWEST_QUOTED:
        return len(quoted) >= _LONGEST_TITLE and not quoted[:1].isupper()
    capitals = sum(word[0].isupper() for word in words)
    return (
        2 * capitals < len(words) or quoted.isupper() or _SENTENCE_MARK.search(quoted) is not None
    )


def _is_sum(question: str, passages: tuple[str, ...]) -> bool:
    """Whether numbers of a short text are to be put together; a passage is no such text."""
    kind = read_question(question).kind
    if passages or kind not in ("number", "what", "open"):
        return False
    text = without_examples(question)
    numbers = [n for n in _NUMBER.findall(text) if kind == "number" or not _YEAR.fullmatch(n)]
    return len(numbers) > 1 and len(WORD.findall(text)) <= _LONGEST_SUM


_LONGEST_SUM: Final = 150
"""Words of a sum put in words; what is longer is a passage with a question."""

_MARK: Final = r"\[\d+\]|(?:context|passage|text|document|source)s?\s*\d*\s*:"
_MARKED: Final = re.compile(_MARK, re.IGNORECASE)
"""How what is given as a passage begins."""

_FEWEST_WORDS: Final = 5
"""Words of a text to choose about; fewer are how somebody begins to ask."""

_QUOTED: Final = re.compile(r"""["“„«]([^"”“»]+)["”“»]""")

_FEWEST_QUOTED: Final = 3
"""Quoted words that may be somebody's; fewer are a title or a word, if there are blanks."""

_LONGEST_TITLE: Final = 12
"""Letters that are more than a title in a script without capitals or blanks."""

_SENTENCE_MARK: Final = re.compile(r"[.!?…][\s.!?…]*(?:\w|$)")

_MARKED_INSIDE: Final = re.compile(rf"(?:^|[\n.!?:])[\s#*>]*(?:{_MARK})", re.IGNORECASE)
"""The same behind an instruction ("Answer by the context. Context: …") or as a heading."""

_DENIES: Final = re.compile(r"\b(?:no|not|never|cannot)\b|n['’]t\b", re.IGNORECASE)

_AGREES: Final = re.compile(
    r"""\W*(?:(?:yes|yeah|yep|correct|right|true|exactly|absolutely|definitely|certainly|indeed|agreed
    |of\ course|sure|i\ (?:\w+ly\ )?agree|ja|oui|sí|si|sim|да|evet)\b
    (?!\W+(?:not|no|never|false|wrong|and\ no|answer|the\ opposite)\b)
    |(?:that|you|it)(?:['’](?:s|re)|\ is|\ are)\ (?:\w+ly\ )?(?:right|correct|true)\b
    |(?:it|they|he|she|we|i)\ (?:is|are|was|were|do|does|did|can|will|has|have)\W*$)""",
    re.IGNORECASE | re.VERBOSE,
)
"""How an answer begins that says what the asker wants to hear."""

_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
_YEAR: Final = re.compile(r"1\d{3}|20\d\d")


def _words(text: str) -> Words:
    """The stems of a text's words that say something."""
    return frozenset(stem(m[0]) for m in WORD.finditer(text) if m[0].casefold() not in _SMALL)


_SMALL: Final = LANGUAGES["en"].function


def _share(some: Words, among: Words) -> float:
    """The share of some words that others have; 0 if there are none."""
    return len(some & among) / len(some) if some else 0.0


ASKED: Final[Mapping[str, Callable[[Span, _Read], float]]] = MappingProxyType(
    {
        "asked.who": _is("who"),
        "asked.when": _is("when"),
        "asked.where": _is("where"),
        "asked.number": _is("number"),
        "asked.which": _is("which"),
        "asked.open": _is("open"),
        "asked.yes_or_no": _is("yes or no"),
        "asked.claims": lambda _, read: float(bool(read.claim)),
        "asked.choice": _is("choice"),
        "asked.choice_about_text": lambda _, read: float(read.about_text),
        "asked.sum": _is("sum"),
        "asked.words": lambda _, read: math.log1p(read.words),
        "asked.passages": lambda _, read: float(read.given),
        "asked.passage_words": lambda _, read: math.log1p(min(len(read.passages), _MOST_WORDS)),
        "asked.in_passages": lambda _, read: _share(read.question, read.passages),
        "asked.in_sentence": lambda _, read: _share(read.question, read.nearest),
        "span.agrees": lambda span, read: float(
            bool(read.claim) and _agrees(span.text, read.claim)
        ),
        "span.in_question": lambda span, read: _share(_words(span.text), read.question),
        "span.in_passages": lambda span, read: _share(_words(span.text), read.passages),
        "span.in_sentence": lambda span, read: _share(_words(span.text), read.nearest),
    }
)
"""Features of what was asked; a kind is 1 or 0, words are counted as log(1 + n), shares lie between
0 and 1."""
