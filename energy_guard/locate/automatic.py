"""The locator that chooses by the form of the answer."""

from __future__ import annotations

from typing import Final

from energy_guard.locate.fields import scan, values
from energy_guard.locate.labels import label_range
from energy_guard.locate.nothing import nothing_to_check
from energy_guard.locate.span import Asked, Found, Locator, NothingToCheck, NotLocated
from energy_guard.locate.words import WORD, content_words

SHORT: Final = 4
"""Words of an answer that is taken whole."""


@Locator
def automatic(answer: str, asked: Asked) -> Found:
    """The values of a JSON answer; the choice that it names; a short answer whole; otherwise
    what the first sentence says beyond the words of the question.

    The last step depends on English, and NothingToCheck on the languages that
    `energy_guard.locate.nothing` names. Both JSON and choices are always checked.
    """
    nodes = scan(answer)
    if nodes is not None:
        return values(nodes) or NotLocated("the JSON answer has no value")
    if asked.choices:
        choice = label_range(answer, asked.choices)
        return choice if isinstance(choice, NotLocated) else [choice]
    nothing = nothing_to_check(asked.question, answer)
    if nothing is not None:
        return NothingToCheck(nothing)
    words = list(WORD.finditer(answer))
    if words and len(words) <= SHORT:
        return [(words[0].start(), words[-1].end())]
    telling = content_words(answer, asked.question)
    return telling or NotLocated("the answer says nothing beyond the words of the question")
