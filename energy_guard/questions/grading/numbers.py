"""The number that an answer claims, with its unit, against a gold one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import regex

from energy_guard.questions.grading.claims import claimed
from energy_guard.questions.grading.finding import Finding
from energy_guard.questions.grading.gold import FILLERS, Gold
from energy_guard.questions.grading.reply import Reply
from energy_guard.questions.normalise import Word, tokens

_UNITS: Final = {
    alias: (kind, size)
    for kind, size, aliases in (
        ("length", 1e3, "km kilometer kilometre kms"),
        ("length", 1.0, "m meter metre"),
        ("length", 1e-2, "cm centimeter centimetre"),
        ("length", 1e-3, "mm millimeter millimetre"),
        ("length", 1609.344, "mile mi meile"),
        ("length", 0.9144, "yard yd"),
        ("length", 0.3048, "foot feet ft"),
        ("length", 0.0254, "inch inche"),
        ("mass", 1.0, "kg kilogram kilo kgs"),
        ("mass", 1e-3, "g gram"),
        ("mass", 1e3, "tonne"),
        ("mass", 0.45359237, "pound lb"),
        ("mass", 0.0283495, "ounce oz"),
        ("mass", 6.35029, "stone"),
        ("time", 1.0, "second sec"),
        ("time", 60.0, "minute min"),
        ("time", 3600.0, "hour hr"),
        ("time", 86400.0, "day"),
        ("time", 604800.0, "week"),
        ("month", 1.0, "month"),
        ("month", 12.0, "year"),
        ("volume", 1.0, "liter litre l"),
        ("volume", 1e-3, "ml milliliter millilitre"),
        ("volume", 3.785, "gallon"),
        ("share", 0.01, "% percent per cent prozent pourcent"),
        ("dollar", 1.0, "$ dollar usd"),
        ("euro", 1.0, "€ euro eur"),
        ("pound", 1.0, "£ gbp"),
        ("yen", 1.0, "¥ yen jpy"),
        ("celsius", 1.0, "celsius c"),
        ("fahrenheit", 1.0, "fahrenheit f"),
        ("speed", 1.0, "mph"),
        ("speed", 0.6214, "kmh kph"),
    )
    for alias in aliases.split()
}
_SIGNS: Final = frozenset("$€£¥")
_TOLD: Final = frozenset({"share", "dollar", "euro", "pound", "yen"})
"""Units that nobody leaves out before a noun."""
_SPANS: Final = frozenset("decade century millennium fortnight".split())
"""Words that are counted as units are, and are never changed into others."""
_MORE_OR_LESS: Final = (
    r"(?:several|(?:a )?few|many|(?:a )?couple(?: of)?|dozens?(?: of)?|hundreds of|thousands of"
    r"|half(?: an?)?|quarters? of an?|thirds? of an?)"
)
"""What stands before a unit and is not one of it."""
_STATED: Final = regex.compile(
    r"(?:\banswer(?:\s+\w+){0,3}\s*(?:is|:|=)|####"
    r"|[=≈])\s*(?:[A-Za-z$€£]+\s+){0,2}?\W{0,3}(-?\d[\d,./]*)\D*$"
)
_ASKS: Final = regex.compile(
    r"\b(how (many|much|long|far|old|fast)|what (is|was|will|are|percentage)|find"
    r"|calculate|compute|solve)\b",
    regex.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number as it is meant: what it may be, decimals written, and its unit if one is known."""

    values: tuple[float, ...]
    places: int
    unit: tuple[str, float] | None
    at: int
    noun: bool = False
    """Whether it counts what the next word names."""


def calculated(question: str) -> bool:
    """Whether a question asks for something that is to be calculated from numbers in it.

    >>> calculated("Tom has 3 apples and buys 4. How many has he?"), calculated("Who has 3?")
    (True, False)
    """
    return _ASKS.search(question) is not None and len(_values(question)) > 1


@lru_cache(maxsize=4096)
def _values(text: str) -> tuple[float, ...]:
    return tuple(word.values[0] for word in tokens(text) if word.values)


def quantities(words: Sequence[Word], text: str) -> list[Quantity]:
    """Return the numbers among some words of a text, each with the unit beside it."""
    found = []
    for at, word in enumerate(words):
        if not word.values:
            continue
        places = len(word.text.partition(".")[2]) if "." in word.text else 0
        found.append(
            Quantity(word.values, places, _unit(words, at, text), at, _noun(words, at, text))
        )
    return found


def _noun(words: Sequence[Word], at: int, text: str) -> bool:
    after = words[at + 1 : at + 2]
    if not after or after[0].capital or after[0].text in FILLERS | _UNITS.keys():
        return False
    return text[words[at].end : after[0].start] == " "


def _unit(words: Sequence[Word], at: int, text: str) -> tuple[str, float] | None:
    if at and words[at - 1].text in _SIGNS:
        return _UNITS[words[at - 1].text]
    after = words[at + 1 : at + 3]
    if after and (known := _UNITS.get(after[0].text)):
        gap = text[words[at].end : after[0].start]
        if (
            after[0].text in ("c", "f", "m", "g", "l")
            and not after[0].text.islower()
            and "°" not in gap
        ):
            return None
        return known if not regex.search(r"[.,;:]\s", gap) else None
    if [w.text for w in after] == ["per", "cent"]:
        return _UNITS["%"]
    return None


def quantity(gold: Gold) -> Quantity | None:
    """Return the one number that a gold answer is, small words and units beside it; or None."""
    found = quantities(gold.words, gold.text)
    ordinal = any(w.text.isdigit() and w.other != w.text for w in gold.words)
    if len(found) == 1 and not ordinal:
        others = [w for n, w in enumerate(gold.words) if n != found[0].at and w.text not in FILLERS]
        others = [w for w in others if w.text not in _UNITS]
        if len(others) <= 2 and not any(w.capital or w.values for w in others):
            return found[0]
    if len(found) == 2 and found[0].unit and found[1].unit:  # 5.97 m (19 ft 7 in)
        return found[0]
    return None


def one_unit(gold: Gold) -> str | None:
    """Return the unit of a gold answer that is one of it by its article, or None.

    >>> from energy_guard.questions.grading.gold import golds
    >>> one_unit(golds("about a week")[0]), one_unit(golds("a wolf")[0])
    ('week', None)
    """
    telling = [w for w in gold.words if w.text not in FILLERS]
    if len(telling) != 1 or telling[0].text not in _UNITS.keys() | _SPANS or telling[0].capital:
        return None
    article = regex.search(r"\ban?\s+$", gold.text[: telling[0].start], regex.IGNORECASE)
    return telling[0].text if article else None


def without_counts(reply: Reply, unit: str) -> Reply:
    """Return an answer with a blank for each time that it speaks of more or less than one unit.

    unit: in the form of `Word.text`. An answer that says nothing of the kind is returned itself.
    """
    text = reply.text
    for at, word in enumerate(reply.words):
        if word.text != unit:
            continue
        before = reply.words[at - 1] if at else None
        start = word.start
        if before and before.values and 1.0 not in before.values:
            if regex.fullmatch(r"[\s-]*", text[before.end : start]):
                start = before.start
        elif vague := regex.search(rf"\b{_MORE_OR_LESS}[\s-]+$", text[:start], regex.IGNORECASE):
            start = vague.start()
        if start < word.start:
            text = text[:start] + " " * (word.end - start) + text[word.end :]
    return reply if text == reply.text else Reply(text)


def number_said(reply: Reply, wanted: Quantity, question: str) -> Finding:
    """Return whether the number that an answer claims is the wanted one.

    The number claimed: the one stated at the end ("the answer is 7", "= 7"); the last, if the
    question asks to calculate; else the first that is not in the question, or any that has the
    same unit.
    """
    found = quantities(reply.words, reply.text)
    if not found:
        return Finding("no", "It claims none of the right answers.")
    stated = _STATED.search(reply.text)
    if stated:
        inside = [q for q in found if reply.words[q.at].start >= stated.start(1)]
        found = inside[:1] or found
    elif calculated(question):
        found = found[-1:]
    matching = [q for q in found if _equal(q, wanted)]
    if not matching:
        return Finding("no", "It gives another number.")
    good = [
        q
        for q in matching
        if claimed(reply, reply.place(q.at, q.at + 1), question) and not _range(reply, q)
    ]
    if not good:
        return Finding("denied", "It denies the right number, or has it only as an end of a range.")
    return Finding("yes", "It gives the right number.")


def _equal(said: Quantity, wanted: Quantity) -> bool:
    for value in said.values:
        for gold in wanted.values:
            for scaled in _scaled(value, said, gold, wanted.unit):
                near = round(scaled, wanted.places) if wanted.places else scaled
                if _rounded(scaled, gold):
                    return True
                if math.isclose(near, gold, rel_tol=1e-9, abs_tol=1e-9):
                    return True
                if (
                    said.unit
                    and wanted.unit
                    and said.unit != wanted.unit
                    and math.isclose(scaled, gold, rel_tol=0.01)
                ):
                    return True
    return False


def _rounded(said: float, gold: float) -> bool:
    """Whether a number is a large or broken gold one, rounded to three digits or more."""
    if (float(gold).is_integer() and abs(gold) < 1e6) or not gold:
        return False
    digits = len(f"{abs(said):.12g}".replace(".", "").strip("0"))
    return digits >= 3 and f"{said:.{digits}g}" == f"{gold:.{digits}g}"


def _scaled(
    value: float, said: Quantity, gold: float, other: tuple[str, float] | None
) -> list[float]:
    """A value in the unit of the gold one; none if the units measure different things."""
    unit = said.unit
    if unit and other:
        return [value * unit[1] / other[1]] if unit[0] == other[0] else []
    if other and other[0] in _TOLD and said.noun:
        return []
    if unit and unit[0] == "share" and abs(gold) < 1:
        return [value / 100]
    if other and other[0] == "share" and abs(value) < 1 <= abs(gold):
        return [value * 100]
    return [value]


def _range(reply: Reply, found: Quantity) -> bool:
    """Whether a number is an end of a range: 4 to 5, between 4 and 5, 4-5."""
    word = reply.words[found.at]
    before, after = reply.text[: word.start], reply.text[word.end :]
    return bool(
        regex.search(
            r"\d\s?(?:-|to|bis|à|a)\s?[$€£]?$|\bbetween\s+\S+(?:\s\w+)?\s+and\s+[$€£]?$"
            r"|\bbetween\s+[$€£]?$|\bfrom\s+\d+ to $",
            before,
        )
        or regex.match(r"\s?(?:-|to|bis|à)\s?[$€£]?\d", after)
    )
