"""Every word that is shown is judged: the exact answer, and whatever else the text claims.

What a locator finds sharpens the score and hides nothing. A word elsewhere that the model was very
unsure of is scored as if it were the answer, and the worse of the two decides. Only such words:
honest text is full of slightly surprising ones, as a writer is free in choosing them.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from energy_guard.locate import Asked, Located, NothingToCheck, NotLocated, Range, Span, span_of
from energy_guard.locate.fields import scan
from energy_guard.locate.languages import LANGUAGES
from energy_guard.locate.patterns import Pattern
from energy_guard.locate.sentences import sentence_ranges
from energy_guard.locate.span import NOTHING_ASKED, trimmed
from energy_guard.locate.words import WORD
from energy_guard.reasoning import reasoning
from energy_guard.score import Part, Score, Scorer, Unscored, no_span
from energy_guard.shown import shown_text
from energy_guard.tool_calls import passed_values
from energy_guard.trace import Trace

NAME: Final = 2.9
"""A name or a number is doubted from this nll on (nats): a probability of 0.055."""

PLAIN: Final = 3.9
"""Any other word that says something, from here on: 0.02."""

SMALL: Final = 5.5
"""Stop words and symbols, from here on: 0.004. One of them may turn a sentence around."""

_SMALL_WORDS: Final = LANGUAGES["en"].function


def exact_answer(trace: Trace, located: Located) -> Located:
    """Return what is to be scored as the exact answer: all values that are passed to tools.

    Args:
        trace: the whole answer.
        located: what the locator found in it, which counts if no tool is called.
    """
    passed = passed_values(trace)
    tokens = sorted({token for span in passed for token in span.tokens})
    return Span(tuple(tokens), ", ".join(span.text for span in passed)) if passed else located


def score_answer(
    scorer: Scorer,
    trace: Trace,
    located: Located,
    words: Sequence[Span] | None = None,
    *,
    asked: Asked = NOTHING_ASKED,
) -> Score | Unscored:
    """Score all of an answer: the worse of its exact answer and of what else it claims.

    Args:
        scorer: the detector.
        trace: the whole answer.
        located: what the locator found in it. Of an answer that calls tools, each value that is
            passed to one is an exact answer of its own instead.
        words: the doubted words, if they are known; those of a trace without text must be.
        asked: what was asked.

    Returns:
        The score of the part that decides, which its `part` names. If nothing was located, that
        is the whole answer, or one of its words; if there is nothing to check, a doubted word of
        what it says all the same. Unscored if the answer is cut off before the
        sentence of its exact answer ends, and if anything that counts cannot be measured.
    """
    located = exact_answer(trace, located)
    if isinstance(located, NothingToCheck):
        words = doubted(trace, located) if words is None else words
        return _worst(scorer, trace, [], words, asked) if words else no_span(located)
    score = _score_of_all(scorer, trace, located, words, asked)
    cut = trace.finish_reason == "length" and not _stands_before_cut(trace, located)
    if cut and isinstance(score, Score):
        return Unscored("the answer is cut off (no more tokens) before it is complete")
    return score


def _score_of_all(
    scorer: Scorer,
    trace: Trace,
    located: Span | NotLocated,
    words: Sequence[Span] | None,
    asked: Asked,
) -> Score | Unscored:
    """The score of an answer as far as it goes, wherever it ends."""
    if isinstance(located, Span):
        words = doubted(trace, located) if words is None else words
        return _worst(scorer, trace, [located, *passed_values(trace)], words, asked)
    if scorer.needs_exact:
        return no_span(located)
    whole = span_of(trace, [(0, len(trace.text))])
    if not isinstance(whole, Span) or not shown_text(trace.text, trace.reasoning_open).strip():
        return no_span(located)
    score = _worst(scorer, trace, [whole, *doubted(trace, located)], (), asked)
    return score if isinstance(score, Unscored) else replace(score, part="whole answer")


def doubted(trace: Trace, located: Located) -> list[Span]:
    """Return the words outside the exact answer that the model was very unsure of.

    Reasoning and blanks are left out, and of an answer with nothing to check all but its words
    that may claim something. A script without capital letters has no names to tell from
    other words, and often no blanks between words: there, a token stands for its word.

    Args:
        trace: the whole answer.
        located: the exact answer; all words count if there is none.
    """
    if isinstance(located, NothingToCheck) and not located.worded:
        return []
    known = frozenset(located.tokens if isinstance(located, Span) else ())
    nll = trace.signal("nll")[: trace.content_end]
    unsure = [t for t in np.flatnonzero(nll >= NAME).tolist() if t not in known]
    if not unsure:
        return []
    text, offsets = trace.text, trace.alignment.offsets
    hidden = reasoning(text, trace.reasoning_open)
    if isinstance(located, NothingToCheck):
        edges = [0, *(edge for part in located.worded for edge in part), len(text)]
        hidden = [*hidden, *zip(edges[::2], edges[1::2], strict=True)]
    words = [match.span() for match in WORD.finditer(text)]
    starts, ends = [start for start, _ in words], [end for _, end in words]
    found: dict[Range, Span] = {}
    for token in unsure:
        start, end = trimmed(text, *offsets[token])
        if start == end or any(begin < end and start < stop for begin, stop in hidden):
            continue
        over = words[bisect_right(ends, start) : bisect_left(starts, end)]
        for at, stop in over or [(start, end)]:
            if text[at:stop].lower() == text[at:stop].upper():
                at, stop = max(at, start), min(stop, end)
            if nll[token] >= _limit(text, at, stop):
                tokens = (t for t in _around(token, at, stop, offsets) if t not in known)
                found[at, stop] = Span(tuple(tokens), text[at:stop])
    return list(found.values())


def _around(token: int, start: int, end: int, offsets: Sequence[Range]) -> range:
    """The tokens from `start` to `end`, one of which is known: words are short, and texts long."""
    first = last = token
    while first and offsets[first - 1][1] > start:
        first -= 1
    while last + 1 < len(offsets) and offsets[last + 1][0] < end:
        last += 1
    return range(first, last + 1)


def _worst(
    scorer: Scorer, trace: Trace, exact: Sequence[Span], words: Sequence[Span], asked: Asked
) -> Score | Unscored:
    """The highest score of the exact answer's parts and of the doubted word with most risk.

    There is one of either kind at least. Of many words only that one is scored, as a fitted
    detector takes its time for each.
    """
    scores: list[tuple[Part, Score]] = []
    for span in exact:
        score = scorer.score(trace, span, asked)
        if isinstance(score, Unscored):
            return score
        scores.append(("exact answer", score))
    if words:
        risks = [scorer.risk(value) for value in trace.signal(scorer.signal).tolist()]
        known = [math.inf if math.isnan(risk) else risk for risk in risks]  # missing: not passed by
        word = max(words, key=lambda word: max(known[token] for token in word.tokens))
        score = scorer.score(trace, word, asked)
        if isinstance(score, Unscored):
            return score
        scores.append(("other claim", score))
    _, first = scores[0]
    part, worst = max(scores, key=lambda scored: scored[1].value)
    if not exact:
        return replace(worst, part=part)
    if worst is first:
        return first
    return replace(worst, unlike=first.unlike, part=part, exact=first)


def _stands_before_cut(trace: Trace, located: Located) -> bool:
    """Whether the exact answer stands in what has ended, in an answer that is cut off.

    That is its sentence, as what was to follow may turn one around, or the main clause, if what
    was to follow only describes it. JSON and code end with their last mark.
    """
    text = shown_text(trace.text, trace.reasoning_open)
    if not isinstance(located, Span) or not text:  # a trace may be stored without its text
        return False
    if text.lstrip().startswith(("{", "[")):
        return scan(text.strip()) is not None
    if text.count("```") % 2:
        return False
    if _ENDED.search(text):
        return True
    *_, (last, _) = [(0, 0), *sentence_ranges(trace.text)]
    offsets = trace.alignment.offsets
    start, end = offsets[located.tokens[0]][0], offsets[located.tokens[-1]][1]
    main, rest = trace.text[last:start], trace.text[end:]
    return end <= last or bool(_MAIN_CLAUSE.fullmatch(main.rstrip()) and _DESCRIBES.match(rest))


_MAIN_CLAUSE: Final = Pattern(
    r"(?i)(?:(?!\b(?:that|not|no|nor|none|never|nobody|cannot|\w+n['’]t|some|many|most|people|one|often"
    r"|if|says?|said|claim\w*|believ\w*|thinks?|thought|contrary|false|myth|wrong\w*)\b)[^,;:()])*"
    r"\s(?:is|was|are|were|by|called|named)(?:\s+(?:the|an?))?"
)
_DESCRIBES: Final = Pattern(r"(?i),\s(?:who\s+\w|an?(?!\w)|the\s+\w|(?:located|born|known)\s)")
"""English: "It was written by Jane Austen", and then ", an" or ", who was": a cut-off description.
"""
_ENDED: Final = re.compile(r"(?<!\d)(?:[.!?…][\"'”’»)\]*_]*|[。！？｡।؟]+[」』”’）]*)\s*\Z")
"""How a text ends whose last sentence is not cut off; the point after a digit may be within it."""


def _limit(text: str, start: int, end: int) -> float:
    """From which nll on a word is doubted."""
    word = text[start:end].strip()
    if any(letter.isdigit() for letter in word):
        return NAME
    if word.casefold() in _SMALL_WORDS or not any(letter.isalpha() for letter in word):
        return SMALL
    capitals = word[1:] if _BEGINS.search(text, 0, start) else word
    return NAME if capitals != capitals.lower() else PLAIN


_BEGINS: Final = re.compile(r"(?:^|(?<!\d)[.!?…]|\n)[\s\"'“‘«(\[*_#>]*\Z")
"""What stands before the first word of a sentence, which has a capital letter anyway. The first
word of a list's item or after a colon is often all that is claimed there."""
