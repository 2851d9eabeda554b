"""Sentences of an answer, as ranges of characters and as spans.

A line break ends a sentence, a list item is split like any line (its marker left out), and a
fenced block of code is one unit. Full stops: abbreviations are known in English, German, French
and Spanish; "。！？" and their like work without blanks; a mark before a small letter ends
nothing, so text in small letters only is split at its line breaks.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from energy_guard.locate.span import Answer, NotLocated, Span, span_of, trimmed
from energy_guard.text import Range
from energy_guard.trace import Trace


def sentences(trace: Trace) -> list[Span]:
    """Return the answer's sentences in order; none if there is no answer.

    Parts without a letter or digit (rules, lone emoji) are left out, and so is reasoning.
    """
    answer = Answer.of(trace.text, trace.reasoning_open)
    if isinstance(answer, NotLocated):
        return []
    found = [span_of(trace, answer.placed([unit])) for unit in sentence_ranges(answer.text)]
    return [span for span in found if isinstance(span, Span)]


def sentence_ranges(text: str) -> list[Range]:
    """Return where the sentences of a text stand, without blanks and list markers around them.

    >>> text = "Dr. No has 3.5 stars! It is from 1962."
    >>> [text[start:end] for start, end in sentence_ranges(text)]
    ['Dr. No has 3.5 stars!', 'It is from 1962.']
    """
    return list(_sentence_ranges(text))


@lru_cache(maxsize=64)  # every claim of an answer asks for them
def _sentence_ranges(text: str) -> tuple[Range, ...]:
    ranges: list[Range] = []
    at = 0
    numbers: set[int] = set()
    for fence in FENCE.finditer(text):
        ranges += _of_lines(text, at, fence.start(), numbers)
        ranges.append(trimmed(text, *fence.span("body")))
        at = fence.end()
    ranges += _of_lines(text, at, len(text), numbers)
    return tuple((start, end) for start, end in ranges if _LETTER.search(text, start, end))


def spoken(text: str) -> list[Range]:
    """Return where sentences stand that somebody in the text says, without quotation marks.

    A title or a word in quotation marks is none: a sentence ends with a mark, inside them, or
    goes on with who says it.

    >>> text = 'The owl blinked and said, "Paris is the capital of France."'
    >>> [text[start:end] for start, end in spoken(text)]
    ['Paris is the capital of France.']
    """
    found = [match.span("said") for match in _SPEECH.finditer(text)]
    return [
        (start, end)
        for start, end in found
        if not text[start].islower() and len(_LETTERS.findall(text, start, end)) >= _FEWEST_SAID
    ]


FENCE: Final = re.compile(
    r"^[ \t]*(?P<mark>`{3,}|~{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)(?:^[ \t]*(?P=mark)[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
"""A fenced block, to the end of the text if it is not closed."""

LETTER: Final = r"[^\W_]"
_LETTER = re.compile(LETTER)
_BULLET = re.compile(r"\s*(?:[-*•+–—>]\s+|#{1,6}\s+)+")
_NUMBER = re.compile(r"\s*(\d{1,3})[.)]\s+")
_STOP = re.compile(r"(?P<mark>[.!?…]+)[\"'”’»)\]*_]*(?=\s)|[。！？｡।؟]+[」』”’）]*")

_SPEECH = re.compile(
    r"(?:^|(?<=[\s(（，：:—–*_]))[\"“„«「『](?P<said>[^\s\"“”„«»「」『』][^\n\"“”„«»「」『』]*?"
    r"(?:[.!?…。！？](?=\s*[\"”“»」』])|,(?=[\"”“»」』] [^\W\dA-ZÀ-Þ])))\s*[\"”“»」』]",
    re.MULTILINE,
)
_LETTERS = re.compile(r"[㐀-鿿぀-ヿ가-힣]|[^\W\d_]+")
_FEWEST_SAID: Final = 3
"""Words of a sentence, or signs where there are no blanks."""

_NEAR: Final = 80
"""Characters on either side of a mark that decide; more would take quadratic time."""

_TITLES: Final = frozenset(
    """mr mrs ms dr prof st mt mme mlle mm sr sra srta hr fr vs cf bzw z.b d.h u.a e.g i.e ej gen
    col lt sgt capt rev hon gov sen rep""".split()
)
_BEFORE_NUMBERS: Final = frozenset(
    "no nr nº fig figs vol p pp art ca approx c abb núm sec ch op etc inc ltd co jr".split()
)
_MONTHS: Final = (
    "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()
)
_ORDINAL_BEFORE: Final = frozenset("der die das den dem des am im vom zum zur seit".split())
_LETTER_NAMES: Final = frozenset(
    """is be answer option choice plan vitamin type class grade group hepatitis ist antwort est
    réponse es respuesta and or""".split()
)


def _of_lines(text: str, start: int, end: int, numbers: set[int]) -> list[Range]:
    """Sentences of a stretch of lines; numbers: list numbers seen so far."""
    ranges = []
    for line in re.finditer(r"[^\n\r\u2028\u2029]+", text[start:end]):
        at, stop = start + line.start(), start + line.end()
        at = marker_end(text, at, stop, numbers)
        for match in _STOP.finditer(text, at, stop):
            before = text[max(at, match.start() - _NEAR) : match.start()]
            after = text[match.end() : min(stop, match.end() + _NEAR)].lstrip()
            if _ends(before, match["mark"], after):
                ranges.append(trimmed(text, at, match.end()))
                at = match.end()
        ranges.append(trimmed(text, at, stop))
    return ranges


def marker_end(text: str, start: int, end: int, numbers: set[int]) -> int:
    """Return where a line begins after its list marker.

    numbers: list numbers seen so far, kept up to date; "42. That is it" begins with a marker
    only where an item 41 came before.
    """
    if bullet := _BULLET.match(text, start, end):
        start = bullet.end()
    number = _NUMBER.match(text, start, end)
    if number and (int(number[1]) in (0, 1) or int(number[1]) - 1 in numbers):
        numbers.add(int(number[1]))
        start = number.end()
    return start


def _ends(before: str, mark: str | None, after: str) -> bool:
    """Whether a mark between two parts of a line ends a sentence."""
    if mark is None or not after:
        return True
    if after[0].islower():
        return False
    if mark != ".":
        return True
    words = before.split()
    word = words[-1].strip("\"'“”‘’«»([{*_") if words else ""
    previous = words[-2].casefold() if len(words) > 1 else ""
    if word.casefold() in _TITLES:
        return False
    if word.casefold() in _BEFORE_NUMBERS and after[0].isdigit():
        return False
    if re.fullmatch(r"(?:[^\W\d_]\.)+[^\W\d_]", word):  # U.S, J.R.R
        return word.casefold() in ("a.m", "p.m")
    if len(word) == 1 and word.isupper():
        return not re.match(r"[^\W\d_]\.", after) and previous in _LETTER_NAMES
    if re.fullmatch(r"\d{1,2}", word):  # German ordinals: am 3. Oktober, der 2. Weltkrieg
        return not (after.startswith(tuple(_MONTHS)) or previous in _ORDINAL_BEFORE)
    return True
