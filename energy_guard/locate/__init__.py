"""Where in the text the exact answer is, without knowing the right one.

A locator gets the answer and what was asked, never a label. It returns what to score, as tokens
of a trace or as characters of a text (`locate_text`, which needs no model); or why the answer was
not found, which never means "all"; or that there is nothing to check. Reasoning (<think>…</think>)
is never part of the answer.

What depends on a language: `automatic` in free text (the words of the languages in
`energy_guard.locate.languages`; others go by form: capitals, digits, marks, and words that the
question does not have) and where it finds nothing to check (see `energy_guard.locate.nothing`);
`quote` (its prompt is English); `first-sentence` and `sentences` (abbreviations in English,
German, French and Spanish); `labels` (blanks between words). The others depend on none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from energy_guard.arguments import checked
from energy_guard.errors import ConfigError
from energy_guard.locate.automatic import automatic
from energy_guard.locate.fields import by_field
from energy_guard.locate.labels import by_labels, labels
from energy_guard.locate.nothing import nothing_to_check
from energy_guard.locate.plain import (
    by_pattern,
    by_tag,
    first_line,
    first_sentence,
    last_number,
    whole,
)
from energy_guard.locate.quote import quote
from energy_guard.locate.sentences import sentences
from energy_guard.locate.span import (
    Asked,
    Located,
    Locator,
    NothingToCheck,
    NotLocated,
    Span,
    span_of,
)
from energy_guard.text import Range

LOCATORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "automatic": "JSON values, a choice, or the part that the question's type asks for",
        "whole": "the whole answer",
        "first-line": "the first line",
        "first-sentence": "the first sentence",
        "last-number": "the last number",
        "quote": "what the model quotes when asked for its short answer",
        "labels": "the one choice of the request that is named",
        "labels:A,B,C": "the one of these labels that is named",
        "regex:PATTERN": "the first match, or group 1 of it",
        "json:FIELD": "a field of a JSON answer, such as city or cities.0.name",
        "tag:NAME": "what stands in the last <NAME>…</NAME>",
    }
)
"""How each locator is written, and what it finds."""

_NAMED: Final[Mapping[str, Locator]] = MappingProxyType(
    {
        "automatic": automatic,
        "whole": whole,
        "first-line": first_line,
        "first-sentence": first_sentence,
        "last-number": last_number,
        "quote": quote,
        "labels": labels,
    }
)
_MADE: Final[Mapping[str, Callable[[str], Locator]]] = MappingProxyType(
    {"labels": by_labels, "regex": by_pattern, "json": by_field, "tag": by_tag}
)


@checked
def locator(spec: str) -> Locator:
    """Return the locator that a text such as "whole" or "regex:Answer: (.+)" names.

    Raises ConfigError if there is none, or if what follows its colon cannot be used.

    >>> locator("last-number").in_text("Flight 7 leaves from gate 12.")
    [(26, 28)]
    """
    kind, colon, argument = spec.partition(":")
    if not colon and kind in _NAMED:
        return _NAMED[kind]
    if kind in _MADE and argument.strip():
        return _MADE[kind](argument)
    raise ConfigError(f"there is no locator {spec!r}", f"One of: {', '.join(LOCATORS)}.")


_locator_named = locator  # a parameter of `locate_text` bears the other name


@checked
def locate_text(
    question: str, answer: str, choices: Sequence[str] = (), locator: str = "automatic"
) -> list[Range] | None:
    """Return which characters of an answer are the exact answer, without a model.

    >>> locate_text("What is the capital of France?", "The capital of France is Paris.")
    [(25, 30)]

    Args:
        question: What was asked, as the model got it.
        answer: What the model wrote, reasoning included.
        choices: The labels among which the answer was to be; empty if it was free.
        locator: One of `LOCATORS`. `quote` needs a model, so it locates nothing here.

    Returns:
        Rising (start, end) pairs in characters of `answer`, end exclusive. None if no exact
        answer is located, or if the answer claims nothing that could be wrong.

    Raises:
        ConfigError: There is no such locator.
        InputError: The choices are one text, not a list of texts.

    """
    found = _locator_named(locator).in_text(answer, Asked(question, tuple(choices)))
    return found if isinstance(found, list) else None


__all__ = [
    "LOCATORS",
    "Asked",
    "Located",
    "Locator",
    "NotLocated",
    "NothingToCheck",
    "Range",
    "Span",
    "automatic",
    "first_line",
    "first_sentence",
    "last_number",
    "locate_text",
    "locator",
    "nothing_to_check",
    "quote",
    "sentences",
    "span_of",
    "whole",
]
