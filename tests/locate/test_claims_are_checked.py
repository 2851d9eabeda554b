"""Claims that look like small talk, questions back, refusals, rewritings or code are checked.

Each of `claims.jsonl` was once shown without a score, or is a near relative of one that was.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from energy_guard import Guard
from energy_guard.backends import Scripted
from energy_guard.locate import nothing_to_check
from energy_guard.policy import Policy

ROWS = [
    json.loads(line)
    for line in Path(__file__).with_name("claims.jsonl").read_text("utf-8").splitlines()
]
STRICT = Policy(detector="nll:max", abstain=2.0)


def test_the_rows_are_many_and_different() -> None:
    assert len({(row["question"], row["answer"]) for row in ROWS}) == len(ROWS) >= 170


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["answer"][:40])
def test_a_claim_in_the_dress_of_something_else_is_checked(row: dict[str, str]) -> None:
    assert nothing_to_check(row["question"], row["answer"]) is None


@pytest.mark.parametrize(
    ("question", "before", "doubted"),
    [
        (
            "Kann ich bei Fieber ein Bier trinken?",
            "Ich weiß es nicht, aber du kannst bei Fieber ein",
            " Bier",
        ),
        (
            "Is the red or the white mushroom poisonous?",
            "I'm not sure, but what is poisonous is the",
            " white",
        ),
        (
            "I have diabetes. I can eat sugar freely.",
            "I'm glad to hear that you can eat",
            " sugar",
        ),
        ("Who won the race?", "I'm sorry, but I don't know who won the", " race"),
    ],
)
def test_a_doubted_word_of_the_question_is_judged_though_it_is_only_repeated(
    question: str, before: str, doubted: str
) -> None:
    pieces = [(word, 0.9) for word in before.split(" ")]
    pieces = [pieces[0], *((f" {word}", p) for word, p in pieces[1:])]
    guard = Guard(Scripted.saying([*pieces, (doubted, 0.001), (".", 0.9)]), policy=STRICT)
    assert guard.ask(question).verdict == "abstain"
    sure = Guard(Scripted.saying([*pieces, (doubted, 0.9), (".", 0.9)]), policy=STRICT)
    assert sure.ask(question).shown
