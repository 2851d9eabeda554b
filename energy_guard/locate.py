"""Where in the text the exact answer is, without knowing the right one.

A locator gets the trace, the question and the choices, never a label. It returns the tokens
to score, or says why there are none: that is an outcome of its own and never means "all".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from energy_guard.errors import ConfigError
from energy_guard.trace import Trace


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens that hold the answer.

    tokens: their indices, rising; those in between that are not listed are not scored. text:
    the characters from the first to the last of them.

    >>> Span((3, 5), "12 or 13").end
    6
    """

    tokens: tuple[int, ...]
    text: str

    @property
    def start(self) -> int:
        """Index of the first token."""
        return self.tokens[0]

    @property
    def end(self) -> int:
        """Index after the last token."""
        return self.tokens[-1] + 1


@dataclass(frozen=True, slots=True)
class NotLocated:
    """There is no answer span, and why.

    >>> NotLocated("the answer is empty").reason
    'the answer is empty'
    """

    reason: str


Located = Span | NotLocated
Locator = Callable[[Trace, str, Sequence[str]], Located]
"""(trace, question, choices) → span or the reason why there is none."""

Range = tuple[int, int]
"""Start and end in characters of the text."""


def span_of(trace: Trace, ranges: Iterable[Range]) -> Located:
    """Return the tokens that share a character with any of the ranges, by character offsets."""
    wanted = sorted(ranges)
    tokens = tuple(
        index
        for index, (begin, end) in enumerate(trace.alignment.offsets)
        if any(end > start and begin < stop for start, stop in wanted)
    )
    if not tokens:
        return NotLocated("no token covers the answer")
    return Span(tokens, trace.text[wanted[0][0] : max(stop for _, stop in wanted)])


def whole(trace: Trace, question: str = "", choices: Sequence[str] = ()) -> Located:
    """The whole answer, without the blanks around it and without reasoning text."""
    region = _answer_region(trace.text)
    return region if isinstance(region, NotLocated) else span_of(trace, [region])


def first_line(trace: Trace, question: str = "", choices: Sequence[str] = ()) -> Located:
    """The first line that is not blank."""
    region = _answer_region(trace.text)
    if isinstance(region, NotLocated):
        return region
    start, end = region
    line = trace.text[start:end].split("\n", 1)[0].rstrip()
    return span_of(trace, [(start, start + len(line))])


def automatic(trace: Trace, question: str = "", choices: Sequence[str] = ()) -> Located:
    """The values of a JSON answer; the choice that it names; a short answer whole; otherwise
    what the first sentence says beyond the words of the question.

    The last step depends on English (its list of stop words, words with blanks between them).
    """
    region = _answer_region(trace.text)
    if isinstance(region, NotLocated):
        return region
    start, end = region
    answer = trace.text[start:end]
    ranges = _json_values(answer)
    if not ranges and choices:
        ranges = _choice(answer, choices)
        if not ranges:
            return NotLocated("the answer does not name exactly one of the choices")
    if not ranges and len(words := list(_WORD.finditer(answer))) <= _SHORT:
        ranges = [(words[0].start(), words[-1].end())] if words else []
    if not ranges:
        ranges = _content_words(answer, question)
    if not ranges:
        return NotLocated("the answer says nothing beyond the words of the question")
    return span_of(trace, [(start + a, start + b) for a, b in ranges])


LOCATORS: Final[Mapping[str, Locator]] = MappingProxyType(
    {"automatic": automatic, "whole": whole, "first-line": first_line}
)


def locator(name: str) -> Locator:
    """Return a locator by its name; ConfigError where there is none."""
    if name not in LOCATORS:
        raise ConfigError(f"there is no locator {name!r}", f"One of: {', '.join(LOCATORS)}.")
    return LOCATORS[name]


_SHORT: Final = 4  # words of an answer that is taken whole
_WORD = re.compile(r"\w+(?:[-'’.,]\w+)*")
_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_JSON_PART = re.compile(
    r'"(?:[^"\\]|\\.)*"(?P<key>\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null'
)
_SENTENCE_END = re.compile(r"(?<!\b[A-Z])(?<!\b(?:Mr|Dr|St))[.!?]+[\"')\]]*\s+|[。！？]|\n+")
_STOP_WORDS: Final = frozenset(
    """a about after all also although am an and any approximately are around as at be because been
    before being between both but by called can common commonly considered could did do does during
    each either for from generally had has have he her here hers him his how however i if in into is
    it its itself just known likely made many may me might more most much my named not of often on
    one or other our over own perhaps possibly probably s she should since so some such than that
    the their theirs them then there these they this those through thus to too typically under until
    up us usually very was we well were what when where whether which while who whom whose why will
    with would you your""".split()
)


def _answer_region(text: str) -> Range | NotLocated:
    """What is left when reasoning text and the blanks around are taken away."""
    start = max((match.end() for match in _THINKING.finditer(text)), default=0)
    body = text[start:]
    if not body.strip():
        return NotLocated("there is only reasoning" if start else "the answer is empty")
    lead = len(body) - len(body.lstrip())
    return start + lead, start + len(body.rstrip())


def _json_values(answer: str) -> list[Range]:
    """Values of a JSON object or list, without the quotes; keys are given, not answered."""
    try:
        if not isinstance(json.loads(answer), dict | list):
            return []
    except ValueError:
        return []
    ranges = []
    for match in _JSON_PART.finditer(answer):
        if match["key"] is None:
            quote = match[0].startswith('"')
            ranges.append((match.start() + quote, match.end() - quote))
    return [(start, end) for start, end in ranges if end > start]


def _choice(answer: str, choices: Sequence[str]) -> list[Range]:
    """The first mention of the one choice that the answer names; nothing if it names several.

    Longer choices first: "New York City" is no mention of "New York".
    """
    found: dict[str, Range] = {}
    taken: list[Range] = []
    for choice in sorted(choices, key=len, reverse=True):
        for match in re.finditer(rf"(?<!\w){re.escape(choice)}(?!\w)", answer, re.IGNORECASE):
            if not any(a < match.end() and match.start() < b for a, b in taken):
                taken.append(match.span())
                found.setdefault(choice, match.span())
    return list(found.values()) if len(found) == 1 else []


def _content_words(answer: str, question: str) -> list[Range]:
    """Words of the first sentence that has any beyond stop words and the question's words."""
    known = _STOP_WORDS | {_stem(match[0]) for match in _WORD.finditer(question)}
    at = 0
    for stop in [*(match.end() for match in _SENTENCE_END.finditer(answer)), len(answer)]:
        ranges = [
            match.span()
            for match in _WORD.finditer(answer, at, stop)
            if _stem(match[0]) not in known
        ]
        if ranges:
            return ranges
        at = stop
    return []


def _stem(word: str) -> str:
    """Case and the English genitive do not make another word."""
    return re.sub(r"['’]s$", "", word.casefold())
