"""Dates as people and models write them, in any order and in many languages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import regex

from energy_guard.questions.normalise import folded

_LANGUAGES: Final = "en de fr es it pt nl sv da nb fi pl cs ru uk tr ro hu id".split()


@dataclass(frozen=True, slots=True)
class Date:
    """A date or a part of one, and the characters where it stands."""

    year: int | None
    month: int | None
    day: int | None
    start: int
    end: int
    other: tuple[int, int] | None = None
    """Month and day in the other order, when digits leave it open."""


@lru_cache(maxsize=1)
def _months() -> dict[str, int]:
    from babel import Locale  # only when a text may have a date: the names are read from files

    names: dict[str, int] = {}
    for language in _LANGUAGES:
        months = Locale(language).months
        for context, width in (
            ("format", "wide"),
            ("stand-alone", "wide"),
            ("format", "abbreviated"),
        ):
            for number, name in months[context][width].items():
                bare = folded(name).rstrip(".").split(".")[-1].strip()
                if len(bare) >= 3 and not bare.isdigit():
                    names.setdefault(bare, number)
    return names | {"sept": 9, "haziran": 6}


@lru_cache(maxsize=1)
def _patterns() -> tuple[regex.Pattern[str], ...]:
    month = (
        "(?P<m>" + "|".join(sorted(map(regex.escape, _months()), key=len, reverse=True)) + r")\b\.?"
    )
    year = r"(?P<y>\d{3,4})(?!\d)(?:\s*(?P<era>b\.?c\b))?"
    day = r"(?<!\d)(?P<d>\d{1,2})(?:st|nd|rd|th|er|º|\.)?(?!\d)"
    of = r"(?:,?\s+(?:of|de|del|d'|the|den|der)?\s*|-)"
    return tuple(
        regex.compile(pattern)
        for pattern in (
            rf"\b{month}\s+(?:the\s+)?{day}(?:{of}{year})?",
            rf"\b{day}{of}{month}(?:{of}{year})?",
            rf"(?P<y>\d{{4}})[.,]?\s+{month}(?:\s+{day})?",
            rf"\b{month}{of}{year}",
            r"(?<!\d)(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})(?!\d)",
            r"(?<!\d)(?P<y>\d{4})/(?P<m>\d{1,2})/(?P<d>\d{1,2})(?!\d)",
            r"(?<![\d/.])(?P<d>\d{1,2})(?P<sep>[./-])(?P<m>\d{1,2})(?P=sep)(?P<y>\d{4})(?!\d)",
            r"(?P<y>\d{3,4})\s?[年년]\s?(?:(?P<m>\d{1,2})\s?[月월]\s?(?:(?P<d>\d{1,2})\s?[日일])?)?",
            r"(?<![\d.,/$€£-])(?P<y>\d{1,4})\s*(?P<era>b\.?\s?c\b|v\.\s?chr|av\.\s?j)",
            r"(?<![\d.,/$€£-])(?P<y>1\d{3}|20\d\d)(?![\d%]|[.,/]\d)",
            r"(?:\b(?:ad|a\.d\.)\s*(?P<y>\d{1,4})\b|\b(?P<y>\d{1,4})\s*(?:ad|ce|a\.d)\b)",
        )
    )


@lru_cache(maxsize=16384)
def dates(text: str) -> tuple[Date, ...]:
    """Return the dates of a cleaned text, each character in one date at most.

    >>> [(d.year, d.month, d.day) for d in dates("from 4 July 1776 to May 1790")]
    [(1776, 7, 4), (1790, 5, None)]
    """
    plain = "".join(folded(c) if len(folded(c)) == 1 else c.lower()[:1] for c in text)
    taken: list[Date] = []
    for pattern in _patterns():
        for match in pattern.finditer(plain):
            if any(match.start() < d.end and d.start < match.end() for d in taken):
                continue
            date = _date(match)
            if date is not None:
                taken.append(date)
    return tuple(sorted([*taken, *_second_years(plain, taken)], key=lambda d: d.start))


def _second_years(text: str, taken: list[Date]) -> Iterator[Date]:
    """The ends of ranges whose century is written once: 1946-47."""
    for date in taken:
        short = regex.match(r"\s?[-/]\s?(\d\d)(?!\d)", text[date.end :])
        if date.year and date.year > 999 and short:
            year = date.year - date.year % 100 + int(short[1])
            if year > date.year:
                yield Date(year, None, None, date.end, date.end + short.end())
        full = regex.match(r"\s?-\s?(1\d{3}|20\d\d)(?!\d)", text[date.end :])
        if full:
            yield Date(int(full[1]), None, None, date.end, date.end + full.end())


def _date(match: regex.Match[str]) -> Date | None:
    parts = match.groupdict()
    year = int(parts["y"]) if parts.get("y") else None
    if year is not None and parts.get("era"):
        year = -year
    month = parts.get("m")
    number = None if month is None else int(month) if month.isdigit() else _months()[month]
    day = int(parts["d"]) if parts.get("d") else None
    other = None
    if parts.get("sep") and day is not None and number is not None:
        if number > 12:
            day, number = number, day
        elif day <= 12 and day != number:
            other = (day, number)
    if (number or 1) > 12 or not 0 < (day or 1) <= 31:
        return None
    return Date(year, number, day, match.start(), match.end(), other)


def compare(said: Date, gold: Date) -> Literal["same", "coarser", "other"]:
    """Return whether a date says what a gold one does, or less, or something else."""
    month, day = said.month, said.day
    if said.other and gold.month == said.other[0]:
        month, day = said.other
    coarser, common = False, False
    for here, there in ((said.year, gold.year), (month, gold.month), (day, gold.day)):
        if there is None:
            continue
        if here is None:
            coarser = True
        elif here != there:
            return "other"
        else:
            common = True
    if not common:
        return "other"
    return "coarser" if coarser else "same"
