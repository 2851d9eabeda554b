"""The built-in quiz is data: these tests are what vouches for it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest

from energy_guard.cli.demo import QUESTIONS

Item = dict[str, Any]

RAW = (files("energy_guard.data") / "quiz.jsonl").read_bytes()
ITEMS: list[Item] = [json.loads(line) for line in RAW.decode("utf-8").splitlines()]
KEYS = "id task question context answers choices answerable topic difficulty".split()
LEVELS = ("easy", "medium", "hard")
TOPICS = {
    *("geography", "history", "science", "space", "biology"),
    *("mathematics", "literature", "arts", "language", "everyday"),
}
TASKS = {
    "fact": "quiz_knowledge",
    "made-up": "quiz_knowledge",  # the label must not be told from the task
    "arithmetic": "quiz_arithmetic",
    "passage": "quiz_passages",
}


def kind(item: Item) -> str:
    """What kind of item it is: the id's first part."""
    return next(name for name in TASKS if item["id"].startswith(f"{name}-"))


def of_kind(name: str) -> list[Item]:
    return [item for item in ITEMS if kind(item) == name]


def tokens(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def skeleton(question: str) -> str:
    """A question without what is filled in: numbers, quoted words, names."""
    first, _, rest = question.partition(" ")
    rest = re.sub(r'"[^"]*"', "@", rest)
    rest = re.sub(r"\b[^\W\d_a-zß-ÿ]\w*(?:['’.-]\w*)*(?: [^\W\d_a-zß-ÿ]\w*)*", "@", rest)
    return re.sub(r"[\d,.]*\d", "#", f"{first} {rest}")


def stratum(item: Item) -> tuple[str, bool, str]:
    return kind(item), item["answerable"], item["difficulty"]


def named(items: list[Item]) -> Any:
    return pytest.mark.parametrize("item", items, ids=lambda item: item["id"])


class TestTheWhole:
    def test_every_row_has_the_shape_of_labelled_data(self) -> None:
        for item in ITEMS:
            assert list(item) == KEYS
            assert all(isinstance(item[key], str) for key in ("id", "task", "question"))
            assert item["context"] is None or isinstance(item["context"], str)
            assert item["answers"] and all(isinstance(a, str) for a in item["answers"])
            assert item["choices"] is None
            assert isinstance(item["answerable"], bool)
            assert item["difficulty"] in LEVELS
            assert item["task"] == TASKS[kind(item)]

    def test_there_are_enough_of_each_kind(self) -> None:
        counts = Counter(kind(item) for item in ITEMS)
        assert len(ITEMS) >= 600
        assert counts["fact"] >= 330
        assert counts["arithmetic"] >= 90
        assert counts["made-up"] >= 70
        assert counts["passage"] >= 110

    def test_facts_are_spread_over_topics_and_difficulties(self) -> None:
        cells = Counter((item["topic"], item["difficulty"]) for item in of_kind("fact"))
        assert set(cells) == {(topic, level) for topic in TOPICS for level in LEVELS}
        assert min(cells.values()) >= 10
        assert max(cells.values()) <= 12

    @pytest.mark.parametrize("name", TASKS)
    def test_no_difficulty_dominates_a_kind(self, name: str) -> None:
        counts = Counter(item["difficulty"] for item in of_kind(name))
        assert min(counts.values()) >= 0.25 * counts.total()

    def test_ids_say_kind_topic_and_difficulty_and_are_unique(self) -> None:
        assert len({item["id"] for item in ITEMS}) == len(ITEMS)
        for item in ITEMS:
            topic = r"[a-z]+" if kind(item) == "arithmetic" else item["topic"]
            pattern = rf"{kind(item)}-{topic}-{item['difficulty']}-\d{{3}}"
            assert re.fullmatch(pattern, item["id"]), item["id"]

    def test_no_question_comes_twice(self) -> None:
        asked = Counter(" ".join(tokens(item["question"])) for item in ITEMS)
        assert [question for question, n in asked.items() if n > 1] == []

    @pytest.mark.parametrize(
        "template",
        [skeleton, lambda question: " ".join(tokens(question)[:3])],
        ids=["skeleton", "first three words"],
    )
    def test_no_template_has_more_than_a_tenth(self, template: Callable[[str], str]) -> None:
        counts = Counter(template(item["question"]) for item in ITEMS)
        assert counts.most_common(1)[0][1] <= len(ITEMS) // 10

    def test_every_prefix_is_a_balanced_sample(self) -> None:
        whole = Counter(map(stratum, ITEMS))
        so_far: Counter[tuple[str, bool, str]] = Counter()
        for n, item in enumerate(ITEMS, 1):
            so_far[stratum(item)] += 1
            for which, total in whole.items():
                assert abs(so_far[which] - total * n / len(ITEMS)) <= 1.5, (n, which)

    def test_the_demo_asks_something_else(self) -> None:
        idle = set("a an the of in is was what which who did".split())
        for question, _ in QUESTIONS:
            demo = set(tokens(question)) - idle
            for item in ITEMS:
                asked = set(tokens(item["question"])) - idle
                assert len(asked & demo) / len(asked | demo) < 0.5, item["question"]


class TestTheText:
    def test_the_file_is_plain_utf8(self) -> None:
        text = RAW.decode("utf-8")
        assert text.endswith("}\n")
        assert "\r" not in text
        assert "\ufeff" not in text
        assert unicodedata.is_normalized("NFC", text)
        for character in set(text) - {"\n", "π"}:
            assert character.isprintable()
            assert character.isascii() or "LATIN" in unicodedata.name(character), character

    def test_texts_are_tidy(self) -> None:
        for item in ITEMS:
            for text in (item["question"], item["context"] or "x", *item["answers"]):
                assert text == " ".join(text.split()), text
            assert item["question"][0].isupper()
            assert item["question"][-1] in "?."
            assert len(item["question"]) <= 110
            assert item["context"] is None or len(item["context"]) <= 200  # time counts

    def test_aliases_are_short_and_differ(self) -> None:
        for item in ITEMS:
            answers = item["answers"]
            assert len({" ".join(tokens(a)) or a for a in answers}) == len(answers), answers
            for answer in answers:
                assert len(answer.split()) <= 5, answer
                assert not re.match(r"(?i)(?:a|an|the) ", answer), answer
                assert not answer.endswith("."), answer

    def test_numbers_are_given_in_digits(self) -> None:
        for item in ITEMS:
            counts = re.match(r"How (?:many|much)|In (?:what|which) year", item["question"])
            if counts and item["answerable"]:
                assert any(re.fullmatch(r"[\d,]+", a) for a in item["answers"]), item

    def test_no_question_gives_its_own_answer_away(self) -> None:
        for item in ITEMS:
            asked = f" {' '.join(tokens(item['question']))} "
            for answer in item["answers"]:
                assert f" {' '.join(tokens(answer)) or answer} " not in asked, item["question"]

    def test_what_cannot_be_answered_has_no_gold_answer(self) -> None:
        for item in ITEMS:
            assert ("unanswerable" in item["answers"]) is not item["answerable"]
            assert item["answerable"] or item["answers"] == ["unanswerable"]
        assert all(item["answerable"] for item in of_kind("fact") + of_kind("arithmetic"))
        assert not any(item["answerable"] for item in of_kind("made-up"))


N = r"(\d+)"
ARITHMETIC: dict[str, Callable[..., float]] = {
    rf"What is {N} plus {N}\?": lambda a, b: a + b,
    rf"Calculate {N} \+ {N}\.": lambda a, b: a + b,
    rf"What is the sum of {N} and {N}\?": lambda a, b: a + b,
    rf"Work out {N} \+ {N} \+ {N}\.": lambda a, b, c: a + b + c,
    rf"What is {N} minus {N}\?": lambda a, b: a - b,
    rf"\w+ had {N} (\w+) and gave away {N}\. How many \2 are left\?": lambda a, b: a - b,
    rf"How much is {N} times {N}\?": lambda a, b: a * b,
    rf"What is the product of {N} and {N}\?": lambda a, b: a * b,
    rf"What is {N} multiplied by {N}\?": lambda a, b: a * b,
    rf"One \w+ (?:holds|has) {N} (\w+)\. How many \2 are (?:in|on) {N} \w+\?": lambda a, b: a * b,
    rf"What is {N} squared\?": lambda a: a * a,
    rf"What is {N} divided by {N}\?": lambda a, b: a / b,
    rf"How much is half of {N}\?": lambda a: a / 2,
    rf"How much is {N}% of {N}\?": lambda a, b: a * b / 100,
    rf"Which number comes right after {N}\?": lambda a: a + 1,
}


class TestArithmetic:
    @named(of_kind("arithmetic"))
    def test_the_answer_is_what_the_question_comes_to(self, item: Item) -> None:
        fitting = [rule for rule in ARITHMETIC if re.fullmatch(rule, item["question"])]
        assert len(fitting) == 1, item["question"]
        numbers = [int(number) for number in re.findall(r"\d+", item["question"])]
        expected = ARITHMETIC[fitting[0]](*numbers)
        assert float(item["answers"][0]) == expected
        digits = [a.replace(",", "") for a in item["answers"] if a[0].isdigit()]
        assert set(digits) == {str(int(expected))}
        assert expected not in numbers  # an answer that only repeats the question is not right

    def test_wordings_and_sizes_vary(self) -> None:
        used = Counter(
            next(rule for rule in ARITHMETIC if re.fullmatch(rule, item["question"]))
            for item in of_kind("arithmetic")
        )
        assert set(used) == set(ARITHMETIC)
        assert max(used.values()) <= 10
        answers = [int(item["answers"][0]) for item in of_kind("arithmetic")]
        assert sum(answer < 20 for answer in answers) >= 20
        assert sum(answer >= 1000 for answer in answers) >= 10


class TestPassages:
    def test_each_passage_is_asked_once_with_the_answer_and_once_without(self) -> None:
        asked: dict[str, list[bool]] = {}
        for item in of_kind("passage"):
            asked.setdefault(item["context"], []).append(item["answerable"])
        assert all(sorted(both) == [False, True] for both in asked.values())
        assert len(asked) >= 55

    @named([item for item in of_kind("passage") if item["answerable"]])
    def test_the_answer_stands_in_the_passage(self, item: Item) -> None:
        passage = f" {' '.join(tokens(item['context']))} "
        assert any(f" {' '.join(tokens(answer))} " in passage for answer in item["answers"])

    def test_passages_are_a_few_sentences(self) -> None:
        for item in of_kind("passage"):
            sentences = re.findall(r'[.!?]"?(?= |$)', item["context"])
            assert 2 <= len(sentences) <= 5, item["context"]

    def test_only_passages_have_a_context(self) -> None:
        assert all((item["context"] is None) is (kind(item) != "passage") for item in ITEMS)
        assert {item["topic"] for item in of_kind("passage")} == TOPICS

    def test_a_question_is_about_its_passage(self) -> None:
        """Some word of it beyond the commonest stands there, so that the pair was not mixed up."""
        idle = set("the a an of in on is was what which who did does do how many much to".split())
        for item in of_kind("passage"):
            assert (set(tokens(item["question"])) - idle) & set(tokens(item["context"])), item


class TestMadeUp:
    def test_wordings_differ(self) -> None:
        openings = Counter(" ".join(tokens(item["question"])[:2]) for item in of_kind("made-up"))
        assert openings.most_common(1)[0][1] <= 12
        assert {item["topic"] for item in of_kind("made-up")} == TOPICS

    def test_names_are_not_used_elsewhere(self) -> None:
        """What does not exist must not exist in a passage or a fact either."""
        real = " ".join(
            f"{item['question']} {item['context'] or ''} {' '.join(item['answers'])}"
            for item in ITEMS
            if kind(item) != "made-up"
        )
        known = set(tokens(real))
        for item in of_kind("made-up"):
            assert any(len(word) > 4 and word not in known for word in tokens(item["question"]))
