from __future__ import annotations

import json
import re
import time
import tomllib
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from energy_guard.questions.refusal import is_refusal

TEXTS = [
    json.loads(line)
    for line in Path(__file__).with_name("refusals.jsonl").read_text("utf-8").splitlines()
]
PAGE = Path(__file__).parents[2] / "docs" / "languages.md"

REFUSALS = [
    "The answer cannot be found in the given context.",
    "There is no mention of that in the passage.",
    "The documents provided do not contain information about this.",
    "There isn't enough information to answer.",
    "I'm afraid I can't help with that.",
    "It's impossible to say.",
    "I dont know",
    "NOT ENOUGH INFORMATION",
    "The final answer is: unanswerable",
    r"\boxed{unanswerable}",
    "A) I don't know",
    "> **Unanswerable**",
    "“I don’t know.”",
    "As an AI, I don't have opinions.",
    "As an AI model, I have no access to live data. You can check the official website.",
    "As an AI model, I cannot browse. Therefore, I cannot answer this. Please ask the venue.",
    "Je ne sais pas.",
    "我不知道。",
    "知りません。",
    "The winner of the cup is not yet determined.",
    "The winning numbers are not predictable and will be announced on the website.",
]
ANSWERS = [
    "I'm not aware of a bigger city than Tokyo.",
    "I can't say enough good things about Paris.",
    "The text does not mention Paris; it mentions Rome.",
    "The passage doesn't say Oslo, it says Bergen.",
    "I don't know Latin, but veritas means truth.",
    "No information system is perfect; the answer is entropy.",
    '"I cannot let you pass," the guard said.',
    "Oslo. I don't know more.",
    "I don't know. Maybe Paris.",
    "It is not known exactly, but it was around 1450.",
    "As an AI model, I have no access to live data. However, the match was won by Asuka.",
    "As an AI model, I have no opinions, but I can tell you that it was won by Asuka.",
    "The sex of the young is not determined by genes.",
    "The moves are not predictable for the other side.",
    "No",
    "Nothing",
    "None",
    "",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_declining_is_a_refusal(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_what_answers_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("I Don't Know", "Which song opens the album?"),
        ('"I don\'t know"', "What did he say?"),
        ("No Answer", "What is the title of the album?"),
        ("None of the Above", "Which play is set in a flat?"),
    ],
)
def test_a_title_or_words_that_were_asked_for_are_an_answer(text: str, question: str) -> None:
    assert not is_refusal(text, question)
    assert is_refusal(text.capitalize() + ".", "How old is she?")


@pytest.mark.parametrize(
    "text", ["No, the text doesn't mention any injury.", "The text does not mention an injury."]
)
def test_silence_of_the_text_answers_a_question_about_the_text(text: str) -> None:
    assert not is_refusal(text, "Does the text mention an injury?")
    assert is_refusal(text, "How was he injured?")


def test_a_refusal_after_the_question_said_again_is_a_refusal() -> None:
    question = "When was the old bridge over the river built?"
    again = "The old bridge over the river was built. "
    assert is_refusal(again + "I don't know when.", question)
    assert not is_refusal(again.replace("built", "built in 1912") + "I don't know more.", question)


def measured(split: str) -> tuple[Counter[str], Counter[str], Counter[str], Counter[str]]:
    """By language: refusals, those seen; answers, those taken for refusals."""
    refusals: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    mistaken: Counter[str] = Counter()
    for row in TEXTS:
        if row["split"] == split:
            (refusals if row["refusal"] else answers)[row["language"]] += 1
            if is_refusal(row["text"], row["question"]):
                (seen if row["refusal"] else mistaken)[row["language"]] += 1
    return refusals, seen, answers, mistaken


def test_refusals_are_seen_in_every_language() -> None:
    refusals, seen, answers, mistaken = measured("test")
    assert len(refusals) == 17
    assert seen.total() >= 0.95 * refusals.total()
    assert mistaken.total() <= 0.02 * answers.total()
    assert all(seen[language] >= 0.85 * number for language, number in refusals.items())


def test_the_page_shows_what_is_measured() -> None:
    refusals, seen, answers, mistaken = measured("test")
    rows = re.findall(
        r"(?m)^\| (\w\w|all) \| (\d+) of (\d+) \| (\d+) of (\d+) \|$", PAGE.read_text("utf-8")
    )
    shown = {name: tuple(map(int, numbers)) for name, *numbers in rows}
    total = (seen.total(), refusals.total(), mistaken.total(), answers.total())
    assert shown == {
        "all": total,
        **{name: (seen[name], refusals[name], mistaken[name], answers[name]) for name in refusals},
    }


def test_a_language_has_all_entries_and_no_pattern_that_is_always_true() -> None:
    table = tomllib.loads((files("energy_guard.data") / "refusals.toml").read_text("utf-8"))
    assert {row["language"] for row in TEXTS} == set(table)
    needed = set(table["en"]) - {"rewrite", "say", "said", "info", "find", "known", "end"}
    for language, entries in table.items():
        assert needed <= set(entries), language
    assert not any(is_refusal(word) for word in ("", " ", ".", "x", "42", "Oslo", "東京", "서울"))


def test_ten_thousand_texts_take_seconds() -> None:
    is_refusal("I don't know.")
    start = time.process_time()
    for row in TEXTS:
        is_refusal(row["text"], row["question"])
    assert (time.process_time() - start) / len(TEXTS) < 10 / 10_000


@pytest.mark.parametrize("part", ["no ", "sorry ", "the text is not ", "没有信息", "не знаю "])
def test_a_long_text_does_not_hang(part: str) -> None:
    start = time.process_time()
    is_refusal(part * 3000)
    assert time.process_time() - start < 10
