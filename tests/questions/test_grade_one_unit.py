"""A right answer with an article before its unit means one of it: another number is wrong."""

from __future__ import annotations

import pytest

from energy_guard.questions.grade import grade
from energy_guard.questions.grading.numbers import without_counts
from energy_guard.questions.grading.reply import Reply

RIGHT = [
    ("a week", "A week."),
    ("a week", "one week"),
    ("a week", "1 week"),
    ("a week", "It lasted a week, not two weeks."),
    ("a week", "It lasted not two weeks but a week."),
    ("a week", "It went on for a week in May 1912."),
    ("about a year", "roughly a year"),
    ("an hour", "It took an hour."),
    ("a century", "nearly a century"),
    ("a stone", "He threw stones."),
    ("A Week", "two Weeks of A Week"),
]

WRONG = [
    ("a week", "two weeks"),
    ("a week", "It lasted 2 weeks."),
    ("a week", "a two-week tour"),
    ("a week", "several weeks"),
    ("a week", "A couple of weeks."),
    ("a week", "half a week"),
    ("a week", "one or two weeks"),
    ("an hour", "1.5 hours"),
    ("an hour", "three-quarters of an hour"),
    ("about a year", "about two years"),
    ("a century", "two centuries"),
    ("a dollar", "five dollars"),
    ("one week", "two weeks"),
    ("eine Woche", "zwei Wochen"),
    ("eine Woche", "2 Wochen"),
    ("une semaine", "deux semaines"),
    ("una semana", "2 semanas"),
    ("un anno", "due anni"),
    ("een week", "twee weken"),
    ("一週間", "二週間"),
]


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_one_of_the_unit_is_right_however_it_is_said(gold: str, answer: str) -> None:
    assert grade("How long did it last?", [gold], answer).outcome == "right"


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_another_number_of_the_unit_is_wrong(gold: str, answer: str) -> None:
    assert grade("How long did it last?", [gold], answer).outcome == "wrong"


def test_only_what_is_counted_is_left_out_and_all_else_stays_in_its_place() -> None:
    reply = Reply("Not two weeks; a week, or 3 days.")
    rest = without_counts(reply, "week")
    assert rest.text == "Not          ; a week, or 3 days."
    assert without_counts(rest, "week") is rest
