"""Texts brought to one form, so that two ways of writing the same answer compare equal.

English where words matter: articles, number words, ordinals, month names, units.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_ARTICLES: Final = frozenset({"a", "an", "the"})
_ONES: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SMALL: Final = {word: n for n, word in enumerate(_ONES)} | {
    word: 10 * n for n, word in enumerate(_TENS, 2)
}
_LARGE: Final = {"thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS: Final = {
    word: str(n)
    for n, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
        "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth "
        "twentieth".split(),
        1,
    )
}
_UNITS: Final = {
    alias: name
    for name, aliases in {
        "km": "kilometer kilometre kilometers kilometres kms",
        "m": "meter metre meters metres",
        "cm": "centimeter centimetre centimeters centimetres",
        "mm": "millimeter millimetre millimeters millimetres",
        "mile": "miles mi",
        "foot": "feet ft",
        "inch": "inches",
        "kg": "kilogram kilograms kilo kilos kgs",
        "g": "gram grams",
        "lb": "pound pounds lbs",
        "hour": "hours hr hrs",
        "minute": "minutes min mins",
        "percent": "%",
        "dollar": "dollars $ usd",
    }.items()
    for alias in aliases.split()
}
_MONTH_NAMES: Final = (
    "january february march april may june july august september october november december".split()
)
MONTHS: Final = frozenset(_MONTH_NAMES) | {name[:3] for name in _MONTH_NAMES}
_TOKEN: Final = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])|[^\W_]+|[%$]")


def words(text: str) -> list[str]:
    """Return the words of a text in one form: case, accents, articles, numbers, units.

    >>> words("The Café has twenty-one tables, 1,000 guests")
    ['cafe', 'has', '21', 'tables', '1000', 'guests']
    """
    plain = re.sub(r"\bUSA?\b|\bU\.S\.(?:A\.)?", " United States ", text.replace("’", "'"))
    plain = re.sub(r"(?i)\bunited states of america\b", "United States", plain)
    plain = unicodedata.normalize("NFKD", plain)
    plain = "".join(c for c in plain if not unicodedata.combining(c)).casefold()
    plain = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", plain)  # thousands separators
    plain = re.sub(r"(\d)(?:st|nd|rd|th)\b", r"\1", plain)
    plain = re.sub(r"\$\s?(\d+(?:\.\d+)?)", r"\1 $", plain)
    plain = re.sub(r"(?<=\d)(?=(?:km|cm|mm|kg|lbs?|ft|m)\b)", " ", plain)
    plain = re.sub(r"\b((?:\w\.){2,})", lambda m: m[1].replace(".", ""), plain)  # U.S.A. → usa
    plain = re.sub(r"(?<=\w)'s\b", "", plain).replace("'", "").replace("&", " and ")
    found = [_UNITS.get(w, _ORDINALS.get(w, w)) for w in _TOKEN.findall(plain)]
    return _numbers([w for w in found if w not in _ARTICLES])


def number(text: str) -> float | None:
    """Return the value of a text that is one number, a unit aside; None for anything else.

    >>> number("$1,250.00"), number("12 km"), number("Catch 22")
    (1250.0, 12.0, None)
    """
    found = words(text)
    if found and found[-1] in _KNOWN_UNITS:
        found = found[:-1]
    return float(found[0]) if len(found) == 1 and is_number(found[0]) else None


def unit(text: str) -> str | None:
    """Return the unit at the end of a text, in one form; None where there is none."""
    last = words(text)[-1:]
    return last[0] if last and last[0] in _KNOWN_UNITS else None


def is_number(word: str) -> bool:
    """Whether a word of `words` is a number."""
    return re.fullmatch(r"-?\d+(?:\.\d+)?", word) is not None


_KNOWN_UNITS: Final = frozenset(_UNITS.values())


def _numbers(found: Sequence[str]) -> list[str]:
    """Runs of number words → digits: twenty one → 21, two hundred and five → 205."""
    out: list[str] = []
    at = 0
    while at < len(found):
        value, size = _run(found[at:])
        if size and not (found[at] == "one" and found[at + 1 : at + 2] == ["of"]):
            out.append(_plain(value))
            at += size
        else:
            out.append(_plain(float(found[at])) if is_number(found[at]) else found[at])
            at += 1
    return out


def _run(found: Sequence[str]) -> tuple[float, int]:
    """The value of the number that a list of words begins with, and how many words it takes."""
    total, part, size, last = 0.0, 0.0, 0, ""
    for n, word in enumerate(found):
        if word in _SMALL:
            if last == "digits" or (last in _SMALL and not _joins(last, word)):
                break
            part += _SMALL[word]
        elif word == "hundred" and (last in _SMALL or last == "digits"):
            part *= 100
        elif word in _LARGE and last:
            total, part = total + part * _LARGE[word], 0.0
        elif is_number(word) and not last and found[n + 1 : n + 2] and found[n + 1] in _LARGE:
            part, word = float(word), "digits"
        elif word == "and" and last in ("hundred", *_LARGE) and found[n + 1 : n + 2]:
            if found[n + 1] not in _SMALL:
                break
            continue
        else:
            break
        last, size = word, n + 1
    return total + part, size


def _joins(last: str, word: str) -> bool:
    return last in _TENS and 0 < _SMALL[word] < 10


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
