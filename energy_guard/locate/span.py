"""What a locator is given, what it returns, and the part of a text that is the answer.

Reasoning is taken out here, once: `Answer.of` hides it from every locator, and `span_of` and
`Locator.in_text` drop it from whatever ranges they are handed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

from energy_guard.reasoning import reasoning
from energy_guard.text import Range, glyph_bounds, merged
from energy_guard.trace import Trace


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens that hold the answer.

    tokens: their indices, rising; those in between that are not listed are not scored. text:
    the characters from the first to the last of them, reasoning left out.

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


@dataclass(frozen=True, slots=True)
class NothingToCheck:
    """The text claims nothing that could be wrong (small talk, code, ...), and what it is.

    worded: where in its characters it may claim something all the same, such as the comments of
    code: a word that the model doubted there is judged.

    >>> NothingToCheck("small talk").reason
    'small talk'
    """

    reason: str
    worded: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What may be known besides the answer; there is no place for a label.

    choices: the labels that the request allows. passages: what the answer should rest on. ask:
    sends a prompt to the same model and returns its reply; None if no model is at hand.

    >>> Asked("Which city?", choices=("York", "Leeds")).ask is None
    True
    """

    question: str = ""
    choices: tuple[str, ...] = ()
    ask: Callable[[str], str] | None = None
    passages: tuple[str, ...] = ()


Located = Span | NotLocated | NothingToCheck
"""What is found in a trace: a span of its tokens, or why there is none."""
Found = list[Range] | NotLocated | NothingToCheck
"""What is found in a text: ranges of its characters instead of tokens."""

NOTHING_ASKED = Asked()
"""What a locator is given if nobody says more."""


@dataclass(frozen=True)
class Answer:
    """The answer in what a model wrote: without reasoning and without the blanks around it.

    text: reasoning inside it is replaced by as many line breaks, so that characters keep their
    places. start: where it begins in what the model wrote, in characters.
    """

    text: str
    start: int

    @classmethod
    def of(cls, written: str, reasoning_open: bool = False) -> Self | NotLocated:
        """Take reasoning and blanks away; NotLocated if nothing is left."""
        hidden = reasoning(written, reasoning_open)
        text = written
        for start, end in hidden:
            text = text[:start] + "\n" * (end - start) + text[end:]
        body = text.strip()
        if not body:
            return NotLocated("there is only reasoning" if hidden else "the answer is empty")
        return cls(body, len(text) - len(text.lstrip()))

    def placed(self, ranges: Iterable[Range]) -> list[Range]:
        """Return ranges of this answer as ranges of what the model wrote."""
        return [(self.start + start, self.start + end) for start, end in ranges]


@dataclass(frozen=True, slots=True)
class Locator:
    """A rule that finds the exact answer, applied to a trace or to a bare text.

    find: gets the answer's text, without reasoning and without the blanks around it, and what was
    asked; it returns ranges in characters of that text. One rule serves both forms, so that they
    cannot come apart. any_end: whether what it finds may be cut off with the answer; of others an
    answer that the limit of its length cut off must have more words after the exact answer.

    >>> Locator(lambda answer, asked: [(0, 2)]).in_text("<think>Hm.</think> Oslo")
    [(19, 21)]
    """

    find: Callable[[str, Asked], Found]
    any_end: bool = False

    def __call__(self, trace: Trace, asked: Asked = NOTHING_ASKED) -> Located:
        """Return the tokens of a trace that hold the exact answer."""
        found = self._find(trace.text, asked, trace.reasoning_open)
        cut = trace.finish_reason == "length" and not self.any_end
        if isinstance(found, NotLocated) and cut:
            return NotLocated(f"{found.reason}, and the answer was cut off")
        if not isinstance(found, list):
            return found
        if cut and not _has_end(trace.text, found):
            return NotLocated("the answer was cut off before the exact answer's end")
        return span_of(trace, found)

    def in_text(self, written: str, asked: Asked = NOTHING_ASKED) -> Found:
        """Return the glyphs of a text that hold the exact answer, as rising ranges of characters.

        A trace's tokens cover whole glyphs too.
        """
        found = self._find(written, asked)
        if not isinstance(found, list):
            return found
        starts, ends = glyph_bounds(written)
        exact = _without(merged(found), reasoning(written))
        whole = merged((starts[start], ends[end - 1]) for start, end in exact)
        return whole or NotLocated("no token covers the answer")

    def _find(self, written: str, asked: Asked, reasoning_open: bool = False) -> Found:
        answer = Answer.of(written, reasoning_open)
        if isinstance(answer, NotLocated):
            return answer
        found = self.find(answer.text, asked)
        if isinstance(found, NothingToCheck):
            return replace(found, worded=tuple(answer.placed(found.worded)))
        return answer.placed(found) if isinstance(found, list) else found


def _has_end(text: str, ranges: Iterable[Range]) -> bool:
    """Whether more text follows the last range after a boundary of words."""
    rest = text[max(end for _, end in ranges) :]
    if re.match(r"[\W_]+\w", rest):
        return True
    digits = text[: len(text) - len(rest)][-1:].isdigit()
    return re.match(r"[\"'”’)*_]*[.!?。！？]\s*$", rest) is not None and not digits


def span_of(
    trace: Trace, ranges: Iterable[Range], *, with_reasoning: bool = False
) -> Span | NotLocated:
    """Return the tokens that share a character with any of the ranges, by character offsets.

    Args:
        trace: what the model wrote.
        ranges: in characters of the trace's text.
        with_reasoning: whether reasoning inside the ranges counts; otherwise it is left out.
    """
    text = trace.text
    hidden = [] if with_reasoning else reasoning(text, trace.reasoning_open)
    wanted = _without(merged(ranges), hidden)
    if not wanted:
        return NotLocated("no token covers the answer")
    tokens = _tokens_in(trace.alignment.offsets, wanted)
    if not tokens:
        return NotLocated("no token covers the answer")
    shown = _without([(wanted[0][0], wanted[-1][1])], hidden)
    return Span(tuple(tokens), "".join(text[start:stop] for start, stop in shown))


def _tokens_in(offsets: Sequence[Range], wanted: Iterable[Range]) -> list[int]:
    """The tokens with a character in any of the ranges; only those near a range are looked at."""
    ends = [end for _, end in offsets]
    tokens: set[int] = set()
    for start, stop in wanted:
        for index in range(bisect_right(ends, start), len(offsets)):
            begin, end = offsets[index]
            if begin < stop:
                tokens.add(index)
            elif begin < end:  # one without content may stand before the rest of a split glyph
                break
    return sorted(tokens)


def trimmed(text: str, start: int, end: int) -> Range:
    """Return the range without the blanks at its ends; empty if there is nothing else.

    >>> trimmed("a  b ", 1, 5)
    (3, 4)
    """
    part = text[start:end]
    lead = len(part) - len(part.lstrip())
    return start + lead, start + max(lead, len(part.rstrip()))


def _without(ranges: list[Range], hidden: list[Range]) -> list[Range]:
    """What is left of rising ranges when hidden ones are cut out."""
    left = []
    for start, end in ranges:
        cuts = [(max(a, start), min(b, end)) for a, b in hidden if a < end and b > start]
        edges = [start, *(edge for cut in cuts for edge in cut), end]
        left += [pair for pair in list(pairwise(edges))[::2] if pair[0] < pair[1]]
    return left
