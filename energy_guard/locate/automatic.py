"""The locator that chooses by the form of the answer."""

from __future__ import annotations

from typing import Final

from energy_guard.locate.fields import scan, values
from energy_guard.locate.labels import label_range
from energy_guard.locate.nothing import nothing_to_check
from energy_guard.locate.span import (
    NOTHING_ASKED,
    Answer,
    Asked,
    Located,
    NothingToCheck,
    NotLocated,
)
from energy_guard.locate.words import WORD, content_words
from energy_guard.trace import Trace

SHORT: Final = 4
"""Words of an answer that is taken whole."""


def automatic(trace: Trace, asked: Asked = NOTHING_ASKED) -> Located:
    """The values of a JSON answer; the choice that it names; a short answer whole; otherwise
    what the first sentence says beyond the words of the question.

    The last step depends on English, and NothingToCheck on the languages that
    `energy_guard.locate.nothing` names. Both JSON and choices are always checked.
    """
    answer = Answer.of(trace)
    if isinstance(answer, NotLocated):
        return answer
    nodes = scan(answer.text)
    if nodes is not None:
        ranges = values(nodes)
        return answer.span(ranges) if ranges else NotLocated("the JSON answer has no value")
    if asked.choices:
        choice = label_range(answer.text, asked.choices)
        return choice if isinstance(choice, NotLocated) else answer.span([choice])
    nothing = nothing_to_check(asked.question, answer.text)
    if nothing is not None:
        return NothingToCheck(nothing)
    words = list(WORD.finditer(answer.text))
    if words and len(words) <= SHORT:
        return answer.span([(words[0].start(), words[-1].end())])
    ranges = content_words(answer.text, asked.question)
    if not ranges:
        return NotLocated("the answer says nothing beyond the words of the question")
    return answer.span(ranges)
