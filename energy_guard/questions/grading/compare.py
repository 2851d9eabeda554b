"""An answer against every gold answer of a row, each by what it is: a date, a number, a phrase."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final

import regex

from energy_guard.questions.grading.claims import claimed
from energy_guard.questions.grading.clean import clean
from energy_guard.questions.grading.dates import Date, compare, dates
from energy_guard.questions.grading.finding import Finding
from energy_guard.questions.grading.gold import FILLERS, Gold, golds, listed
from energy_guard.questions.grading.numbers import (
    number_said,
    one_unit,
    quantity,
    without_counts,
)
from energy_guard.questions.grading.phrase import NO, phrase_said
from energy_guard.questions.grading.polar import polarity, polarity_said
from energy_guard.questions.grading.reply import Reply
from energy_guard.questions.normalise import tokens

_ORDER: Final = ("yes", "doubt", "denied", "no")
_EXACT_DAY: Final = regex.compile(
    r"\b(?:what|which|exact)\s+(?:exact\s+)?(?:date|day)\b", regex.IGNORECASE
)


def compared(reply: Reply, answers: tuple[str, ...], question: str) -> Finding:
    """Return the best finding over the gold answers; a denial of one stands against mere doubt.

    question: cleaned.
    """
    best = NO
    joined = _joined(answers)
    if any(reply.text == clean(answer) for answer in answers):
        return Finding("yes", f"It says “{reply.text}”.")
    for answer in answers:
        parts = listed(answer)
        if parts:
            finding = _all_said(reply, parts, question)
            if finding.holds == "yes":
                return finding
            best = min(best, finding, key=lambda f: _ORDER.index(f.holds))
            continue
        for gold in golds(answer):
            finding = _against(reply, gold, question, joined)
            if finding.holds == "yes":
                return finding
            best = min(best, finding, key=lambda f: _ORDER.index(f.holds))
    return best


@lru_cache(maxsize=4096)
def _joined(answers: tuple[str, ...]) -> frozenset[str]:
    return frozenset(gold.joined for answer in answers for gold in golds(answer))


def _all_said(reply: Reply, parts: Sequence[tuple[Gold, ...]], question: str) -> Finding:
    """Whether an answer says every part of a list, in any order."""
    said = sum(
        any(phrase_said(reply, gold, question, ()).holds == "yes" for gold in part)
        for part in parts
    )
    if said == len(parts):
        return Finding("yes", "It says every part of the list.")
    return Finding("doubt", "It says only some parts of the list.") if said else NO


def _against(reply: Reply, gold: Gold, question: str, joined: Collection[str]) -> Finding:
    wanted = polarity(gold.text)
    if wanted:
        said = polarity_said(reply.text, question)
        return (
            Finding("yes", f"It says {said}.")
            if said == wanted
            else Finding("denied", f"It does not say {wanted}.")
        )
    if len(gold.joined) <= 1 and not gold.joined.isdigit():
        symbol = _symbol(reply, gold)
        if symbol is not None:
            return symbol
    when = _date_of(gold.text)
    if when:
        return _date_said(reply, when, question)
    number = quantity(gold)
    if number is not None:
        return number_said(reply, number, question)
    unit = one_unit(gold)
    if unit is not None:
        return _one_said(reply, gold, unit, question, joined)
    return phrase_said(reply, gold, question, joined)


def _one_said(
    reply: Reply, gold: Gold, unit: str, question: str, joined: Collection[str]
) -> Finding:
    """Whether an answer says "a week", and not "two weeks": articles are no words to compare."""
    counted = without_counts(reply, unit)
    finding = phrase_said(counted, gold, question, joined)
    if counted is not reply and finding.holds == "no":
        return Finding("no", "It gives another number.")
    return finding


def _symbol(reply: Reply, gold: Gold) -> Finding | None:
    """Whether a sign or a letter stands in the answer as such, and not as an article."""
    if not gold.text or (gold.joined and not gold.joined.isascii()):
        return None
    sign = regex.escape(gold.text)
    found = regex.search(rf"(?<![\w+#-]){sign}(?![\w+#'-])(?!\s+[a-z])", reply.text)
    if found is None:
        return NO
    return Finding("yes", f"It says “{gold.text}”.")


@lru_cache(maxsize=65536)
def _date_of(text: str) -> tuple[Date, ...]:
    """The dates that a gold answer is, if it has hardly a word besides."""
    found = dates(text)
    rest = text
    for date in reversed(found):
        rest = rest[: date.start] + " " + rest[date.end :]
    others = [w for w in tokens(rest) if w.text not in FILLERS and w.text not in _AROUND]
    return found if not others else ()


_AROUND: Final = frozenset(
    "a an the year early late mid ce ad season day since until after before end beginning".split()
)


def _date_said(reply: Reply, wanted: tuple[Date, ...], question: str) -> Finding:
    said = dates(reply.text)
    best = Finding("no", "It gives another date." if said else NO.reason)
    same = 0
    if len(wanted) == 2 and regex.search(r"\b(?:a|any|one) year\b", question, regex.I):
        first, last = sorted(date.year or 0 for date in wanted)
        if any(first <= (date.year or 0) <= last for date in said):
            return Finding("yes", "It gives a year of the range.")
    for gold in wanted:
        results = [(compare(date, gold), date) for date in said]
        if gold.year is not None and gold.month is None and abs(gold.year) < 1000:
            results += [("same", _bare(n)) for n in _bare_years(reply, abs(gold.year))]
        claims = [
            (result, date)
            for result, date in results
            if result != "other" and _claims(reply, date, question)
        ]
        if any(result == "same" for result, _ in claims):
            same += 1
        elif claims:
            exact = _EXACT_DAY.search(question) or claims[0][1].year is None
            best = (
                Finding("doubt", "Its date is less exact than the right one.")
                if exact
                else Finding("yes", "It gives the right date, less exactly.")
            )
        elif any(result != "other" for result, _ in results):
            best = Finding("denied", "It denies the right date.")
    if same == len(wanted):
        return Finding("yes", "It gives the right date.")
    if same:
        return Finding("doubt", "It gives only one of the right dates.")
    return best


def _bare_years(reply: Reply, year: int) -> list[tuple[int, int]]:
    return [(w.start, w.end) for w in reply.words if w.values == (float(year),)]


def _bare(span: tuple[int, int]) -> Date:
    return Date(None, None, None, *span)


def _claims(reply: Reply, date: Date, question: str) -> bool:
    starts = [word.start for word in reply.words]
    first = min(bisect_left(starts, date.start), len(starts) - 1)
    return claimed(reply, reply.place(first, first + 1), question)
