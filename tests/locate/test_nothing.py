from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard.backends import Scripted
from energy_guard.guard import Guard
from energy_guard.locate import NothingToCheck, nothing_to_check
from energy_guard.locate.smalltalk import is_small_talk, name_given
from energy_guard.score import Detector, Unscored
from energy_guard.trace import Trace

FILE = Path(__file__).parents[2] / "benchmarks" / "nothing_to_check.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]


def test_the_benchmark_has_what_it_should() -> None:
    assert len(ROWS) >= 80
    assert sum(row["language"] != "en" for row in ROWS) >= 20
    assert len({row["language"] for row in ROWS}) >= 4
    assert len({(row["question"], row["answer"]) for row in ROWS}) == len(ROWS)
    held_out = sum(row["part"] == "held-out" for row in ROWS)
    assert held_out == len(ROWS) / 2


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row["expect"] == "check"], ids=lambda row: row["question"][:40]
)
def test_a_factual_answer_is_always_checked(row: dict[str, Any]) -> None:
    assert nothing_to_check(row["question"], row["answer"]) is None


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row["expect"] == "nothing" and row["part"] == "tune"],
    ids=lambda row: row["question"][:40],
)
def test_nothing_to_check_on_the_rows_that_the_rules_were_made_for(row: dict[str, Any]) -> None:
    assert nothing_to_check(row["question"], row["answer"])


@pytest.mark.parametrize(
    ("question", "answer", "what"),
    [
        ("Hi", "Hello!", "small talk"),
        ("Write a Python function that adds", "```py\ndef f(a, b): return a + b\n```", "code"),
        ("How do I boil an egg?", "1. Boil water.\n2. Add the egg.", "a list of steps"),
        ("Tell me a joke", "A cat walks into a bar.", "creative writing"),
        ("Do you like rain?", "Yes, I love rain!", "a taste"),
    ],
)
def test_what_it_is_instead(question: str, answer: str, what: str) -> None:
    assert nothing_to_check(question, answer) == what


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("", "Hello!"),
        ("Hi", ""),
        ("Hi", "Hello! Paris is in Spain."),
        ("Hi. Who wrote Emma?", "Hello!"),
        ("Do you like rain? When did it rain?", "I love rain."),
        ("How do I boil an egg?", "1. Boil water for 3 minutes.\n2. Add the egg."),
        ("How do I boil an egg?", "1. Boil water.\n2. Eggs are fish."),
        ("How do I treat a burn?", "1. Wash it.\n2. Put butter on it."),
        ("Write a Python function that gives c", "```py\ndef c(): return 299792\n```"),
        ("Write a poem about Marie Curie", "She was born in Rome."),
        ("Tell me a story about a doctor", "She gave the boy the right dose, a whole spoon."),
        ("Tell me a story about a doctor", "He took two pills and slept."),
        ("Write a poem", "The moon saw George Washington die."),
        ("Write a poem", "I was born in Paris."),
        ("Schreib ein Gedicht", "Nimm zehn Tropfen, und du schläfst."),
    ],
)
def test_in_doubt_it_is_checked(question: str, answer: str) -> None:
    assert nothing_to_check(question, answer) is None


def test_a_name_may_follow_a_greeting_only_where_it_was_given() -> None:
    assert name_given("Hi, my name is Tom.") == "Tom"
    assert is_small_talk("Nice to meet you, Tom!", "Tom")
    assert is_small_talk("Hello Tom!", "Tom")
    assert not is_small_talk("Hello Paris!", "Tom")
    assert not is_small_talk("Hello Paris!")


def test_a_row_of_phrases_takes_no_exponential_time() -> None:
    assert not is_small_talk("hi there " * 8 + "x")


@given(st.text(), st.text())
def test_any_two_texts_give_a_reason_or_none(question: str, answer: str) -> None:
    assert nothing_to_check(question, answer) in {
        None,
        "small talk",
        "code",
        "a list of steps",
        "creative writing",
        "a taste",
    }


@given(st.text())
def test_without_a_question_everything_is_checked(answer: str) -> None:
    assert nothing_to_check("", answer) is None


def test_the_score_says_that_there_was_nothing_to_check() -> None:
    empty = Trace.from_steps([])
    score = Detector.parse("nll:max").score(empty, NothingToCheck("small talk"))
    assert score == Unscored("nothing to check: small talk", nothing_to_check=True)


def test_the_guard_hands_on_what_was_asked() -> None:
    guard = Guard(Scripted.saying([("Hello", 0.5), ("!", 0.9)]))
    result = guard.ask("Hi there")
    assert result.verdict == "unscored"
    assert result.reason.startswith("nothing to check: small talk")
