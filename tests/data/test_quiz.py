"""The built-in quiz is data: these tests are what vouches for it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quiz.arithmetic import value_of
from benchmarks.quiz.build import written
from benchmarks.quiz.sources import LEVELS, all_items
from energy_guard import grade
from energy_guard.calibrate.split import question_key
from energy_guard.cli.demo import QUESTIONS
from energy_guard.locate.question import read_question
from energy_guard.questions.quiz import quiz

Item = dict[str, Any]

RAW = (files("energy_guard.data") / "quiz.jsonl").read_bytes()
ITEMS: list[Item] = [json.loads(line) for line in RAW.decode("utf-8").splitlines()]
KEYS = "id task question context answers choices answerable topic level wrong sum".split()
KINDS = (
    *("facts", "names_and_dates", "yes_or_no", "claims", "comparisons", "sums"),
    *("choices", "labels", "references"),
    *("false_premises", "made_up", "passages", "silent_passages", "two_passages"),
)
DECLINED = {"made_up", "silent_passages"}
POLAR = ("yes_or_no", "claims")
OFFERED = ("choices", "labels", "references")
LONG = {"sums", "labels", "references"}
"""Kinds whose questions hold what they ask about."""
WITH_CONTEXT = {"passages", "silent_passages", "two_passages"}
REFUSALS = (
    *("I don't know.", "I am not familiar with that.", "unknown", "I cannot answer that."),
    *("The passage does not say.", "There is no information about that in the text."),
)


def of_kind(*names: str) -> list[Item]:
    return [item for item in ITEMS if item["task"] in names]


def tokens(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def joined(text: str) -> str:
    return f" {' '.join(tokens(text)) or text} "


def skeleton(question: str) -> str:
    """A question without what is filled in: numbers, quoted words, names."""
    first, _, rest = question.partition(" ")
    rest = re.sub(r'"[^"]*"', "@", rest)
    rest = re.sub(r"\b[^\W\d_a-zß-ÿ]\w*(?:['’.-]\w*)*(?: [^\W\d_a-zß-ÿ]\w*)*", "@", rest)
    return re.sub(r"[\d,.]*\d", "#", f"{first} {rest}")


def stratum(item: Item) -> tuple[str, str | None, str]:
    return item["task"], item["level"], item["answers"][0] if item["task"] in POLAR else ""


def outcome(item: Item, answer: str) -> str:
    golds = item["answers"] if item["answerable"] else []
    choices = item["choices"] or ()
    return grade(item["question"], golds, answer, choices, item["answerable"]).outcome


def in_forms(answer: str) -> list[str]:
    """The answer as models put it."""
    return [answer, f"{answer[0].upper()}{answer[1:]}.", f"The answer is {answer}."]


named_kind = pytest.mark.parametrize("kind", KINDS)


class TestTheWhole:
    def test_the_file_is_what_the_sources_come_to(self) -> None:
        assert written(all_items()) == RAW.decode("utf-8")

    def test_every_row_has_the_shape_of_labelled_data(self) -> None:
        for item in ITEMS:
            assert list(item) == KEYS
            assert all(isinstance(item[key], str) for key in ("id", "question", "topic"))
            assert (item["context"] is not None) is (item["task"] in WITH_CONTEXT)
            assert item["answers"] and all(isinstance(a, str) for a in item["answers"])
            assert (item["choices"] is not None) is (item["task"] in OFFERED)
            assert isinstance(item["answerable"], bool)

    def test_there_are_enough_of_each_kind(self) -> None:
        counts = Counter(item["task"] for item in ITEMS)
        assert set(counts) == set(KINDS)
        assert min(counts.values()) >= 50
        assert counts.total() >= 800

    def test_its_page_counts_them(self) -> None:
        page = (Path(__file__).parents[2] / "docs" / "quiz.md").read_text("utf-8")
        told = {kind: int(n) for kind, n in re.findall(r"(?m)^\| (\w+) \| (\d+) \|", page)}
        assert told == Counter(item["task"] for item in ITEMS)
        assert f"{len(ITEMS):,} questions" in page

    def test_facts_are_of_four_difficulties_and_many_fields(self) -> None:
        levels = Counter(item["level"] for item in of_kind("facts"))
        assert set(levels) == set(LEVELS)
        assert min(levels.values()) >= 50
        topics = Counter(item["topic"] for item in of_kind("facts"))
        assert len(topics) >= 12
        assert max(topics.values()) <= levels.total() // 5

    def test_ids_say_kind_and_level_and_are_unique(self) -> None:
        assert len({item["id"] for item in ITEMS}) == len(ITEMS)
        for item in ITEMS:
            level = f"-{item['level'].replace(' ', '-')}" if item["level"] else ""
            assert re.fullmatch(rf"{item['task']}{level}-[0-9a-f]{{8}}", item["id"]), item["id"]

    def test_no_question_comes_twice(self) -> None:
        keys = Counter(question_key(item["question"], item["context"]) for item in ITEMS)
        assert [key for key, n in keys.items() if n > 1] == []
        asked = Counter(joined(item["question"]) for item in ITEMS)
        assert [question for question, n in asked.items() if n > 1] == []

    def test_no_fact_is_asked_for_twice_in_other_words(self) -> None:
        idle = set("a an the of in is was what which who did when year how that it for".split())
        asked = [
            (set(tokens(item["question"])) - idle, set(map(joined, item["answers"])), item)
            for item in of_kind("facts", "names_and_dates", "choices")
        ]
        for (one, golds, item), (other, others, _) in combinations(asked, 2):
            assert not golds & others or len(one & other) / len(one | other) < 0.5, item

    @pytest.mark.parametrize(
        ("template", "share"),
        [(skeleton, 40), (lambda question: " ".join(tokens(question)[:3]), 10)],
        ids=["skeleton", "first three words"],
    )
    def test_no_template_is_asked_often(self, template: Callable[[str], str], share: int) -> None:
        counts = Counter(template(item["question"]) for item in ITEMS)
        assert counts.most_common(1)[0][1] <= len(ITEMS) // share

    def test_every_prefix_is_a_balanced_sample(self) -> None:
        whole = Counter(map(stratum, ITEMS))
        so_far: Counter[tuple[str, str | None, str]] = Counter()
        for n, item in enumerate(ITEMS, 1):
            so_far[stratum(item)] += 1
            for which, total in whole.items():
                assert abs(so_far[which] - total * n / len(ITEMS)) <= 1.5, (n, which)

    def test_a_third_of_it_has_a_third_of_each_kind(self) -> None:
        whole, third = (Counter(row.task for row in quiz(whole=w)) for w in (True, False))
        assert set(third) == set(KINDS)
        assert whole.total() == len(ITEMS)
        assert all(abs(third[kind] - whole[kind] / 3) <= 2 for kind in KINDS)

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
        for character in set(text) - {"\n", "π", "°"}:
            assert character.isprintable()
            assert character.isascii() or "LATIN" in unicodedata.name(character), character

    def test_texts_are_tidy(self) -> None:
        for item in ITEMS:
            parts = (item["context"] or "x").split("\n\n")
            for text in (item["question"], *parts, *item["answers"], *item["wrong"]):
                assert text == " ".join(text.split()), text
            assert item["question"][0].isupper()
            assert item["question"][-1] in "?."
            assert len(item["question"]) <= (220 if item["task"] in LONG else 110)
            assert item["context"] is None or len(item["context"]) <= 480  # time counts

    def test_aliases_are_short_and_differ(self) -> None:
        for item in ITEMS:
            answers = item["answers"]
            assert len({" ".join(tokens(a)) or a for a in answers}) == len(answers), answers
            for answer in answers:
                assert len(answer.split()) <= 12, answer
                assert not answer.endswith("."), answer

    def test_numbers_are_given_in_digits(self) -> None:
        for item in ITEMS:
            counts = re.match(r"How (?:many|much)|In (?:what|which) year", item["question"])
            if counts and item["answerable"] and item["task"] != "false_premises":
                assert any(re.match(r"[\d,]+", a) for a in item["answers"]), item

    def test_no_question_gives_its_own_answer_away(self) -> None:
        for item in of_kind("facts", "names_and_dates", "sums", "passages"):
            if item["task"] == "sums":
                assert int(item["answers"][0]) not in map(int, re.findall(r"\d+", item["question"]))
            assert [a for a in item["answers"] if joined(a) in joined(item["question"])] == []

    def test_what_cannot_be_answered_has_no_gold_answer(self) -> None:
        for item in ITEMS:
            assert item["answerable"] is (item["task"] not in DECLINED)
            assert item["answerable"] or item["answers"] == ["unanswerable"]
            assert ("unanswerable" in item["answers"]) is not item["answerable"]


class TestTheGrades:
    @named_kind
    def test_every_right_answer_counts_as_right(self, kind: str) -> None:
        for item in of_kind(kind):
            if item["answerable"]:
                said = [form for answer in item["answers"] for form in in_forms(answer)]
                assert [text for text in said if outcome(item, text) != "right"] == [], item

    @named_kind
    def test_no_wrong_answer_counts_as_right(self, kind: str) -> None:
        for item in of_kind(kind):
            said = [form for answer in item["wrong"] for form in in_forms(answer)]
            assert [text for text in said if outcome(item, text) == "right"] == [], item

    @named_kind
    def test_to_decline_is_right_only_if_there_is_no_answer(self, kind: str) -> None:
        expected = "right" if kind in DECLINED else "refused"
        for item in of_kind(kind):
            said = [text for text in REFUSALS if text not in (item["choices"] or ())]
            if kind == "labels":  # where the text is silent, that is what was to be said of it
                said = [text for text in said if "passage" not in text and "text" not in text]
            assert {outcome(item, text) for text in said} == {expected}, item

    def test_to_name_the_false_premise_is_right_and_to_go_along_is_known(self) -> None:
        for item in of_kind("false_premises"):
            assert outcome(item, "The question is based on a false premise.") == "right"
            assert item["wrong"]  # none of which counts as right: see above

    def test_what_is_compared_or_offered_beside_the_answer_is_known_to_be_wrong(self) -> None:
        for item in of_kind("comparisons", *OFFERED):
            assert item["wrong"]
        for item in of_kind(*OFFERED):
            assert set(item["choices"]) == {item["answers"][0], *item["wrong"]}


NUMBER_WORDS = {
    **{
        "half": 2,
        "Half": 2,
        "quarter": 4,
        "third": 3,
        "twice": 2,
        "Twice": 2,
        "Two": 2,
        "Three": 3,
    },
    **{"wide": 2, "there and back": 2, "minutes": 60, "percent": 100},
}
"""Numbers that a question only means: a rectangle has two of each side."""


class TestSums:
    def test_the_answer_is_what_the_sum_comes_to(self) -> None:
        for item in of_kind("sums"):
            assert item["answers"] == [str(value_of(item["sum"]))]
            assert value_of(item["sum"]) > 0

    def test_its_numbers_are_those_of_the_question(self) -> None:
        for item in of_kind("sums"):
            told = {int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", item["question"])}
            told |= {value for word, value in NUMBER_WORDS.items() if word in item["question"]}
            used = {int(number) for number in re.findall(r"\d+", item["sum"])}
            assert used <= told

    def test_they_take_one_to_four_steps(self) -> None:
        steps = Counter(item["level"] for item in of_kind("sums"))
        assert set(steps) == {"one step", "two steps", "three steps", "four steps"}
        assert min(steps.values()) >= 12
        for item in of_kind("sums"):
            signs = re.findall(r"[-+*/]", item["sum"])
            assert (len(signs) == 1) is (item["level"] == "one step")


class TestYesOrNo:
    def test_as_many_are_right_with_no_as_with_yes(self) -> None:
        for rows in (quiz(whole=True), quiz(whole=False)):
            said = Counter(row.answers for row in rows if row.task == "yes_or_no")
            assert set(said) == {("yes",), ("no",)}
            assert abs(said[("yes",)] - said[("no",)]) <= 1


class TestChoices:
    def test_the_right_one_may_stand_anywhere(self) -> None:
        places = Counter(i["choices"].index(i["answers"][0]) for i in of_kind("choices"))
        assert set(places) >= {0, 1, 2, 3}
        assert max(places.values()) <= 0.4 * places.total()

    def test_the_order_in_which_a_text_names_two_does_not_tell_who_is_meant(self) -> None:
        first = [
            item["question"].index(item["answers"][0]) < item["question"].index(item["wrong"][0])
            for item in of_kind("references")
        ]
        assert 0.4 * len(first) <= sum(first) <= 0.6 * len(first)

    def test_each_label_is_right_of_some_text_and_none_of_most(self) -> None:
        offered: defaultdict[frozenset[str], Counter[str]] = defaultdict(Counter)
        for item in of_kind("labels"):
            offered[frozenset(item["choices"])][item["answers"][0]] += 1
        for labels, right in offered.items():
            if right.total() > 5:
                assert set(right) == labels
                assert max(right.values()) <= 2 / len(labels) * right.total(), right


class TestComparisons:
    def test_the_one_that_is_named_first_is_right_about_half_of_the_time(self) -> None:
        first = [
            item["question"].find(item["answers"][0]) < item["question"].find(item["wrong"][0])
            for item in of_kind("comparisons")
            if item["answers"][0] in item["question"]
        ]
        assert 0.35 <= sum(first) / len(first) <= 0.65


class TestPassages:
    def test_each_passage_is_asked_with_an_answer_and_without(self) -> None:
        asked = defaultdict(list)
        for item in of_kind("passages", "silent_passages"):
            asked[item["context"]].append(item["answerable"])
        assert all(sorted(both) == [False, True] for both in asked.values())

    def test_the_answer_stands_in_the_passage(self) -> None:
        for item in of_kind("passages"):
            assert any(joined(answer) in joined(item["context"]) for answer in item["answers"])

    def test_passages_are_of_many_genres_and_two_to_eight_sentences(self) -> None:
        assert len({item["topic"] for item in of_kind("passages")}) >= 12
        for item in of_kind("passages"):
            sentences = re.findall(r'[.!?]"?(?= |$)', item["context"])
            assert 2 <= len(sentences) <= 8, item["context"]

    def test_a_question_is_about_its_passage(self) -> None:
        """Some word of it beyond the commonest stands there, so that the pair was not mixed up."""
        idle = set("the a an of in on is was what which who did does do how many much to".split())
        for item in of_kind(*WITH_CONTEXT):
            assert (set(tokens(item["question"])) - idle) & set(tokens(item["context"])), item

    def test_two_passages_are_two_and_speak_of_one_thing(self) -> None:
        for item in of_kind("two_passages"):
            one, other = item["context"].split("\n\n")
            idle = set("the a an of in on is was at and to it by for are with".split())
            assert (set(tokens(one)) & set(tokens(other))) - idle


class TestMadeUp:
    def test_wordings_differ(self) -> None:
        openings = Counter(" ".join(tokens(item["question"])[:2]) for item in of_kind("made_up"))
        assert openings.most_common(1)[0][1] <= 12
        assert len({item["topic"] for item in of_kind("made_up")}) >= 10

    def test_names_are_not_used_elsewhere(self) -> None:
        """What does not exist must not exist in a passage or a fact either."""
        real = " ".join(
            f"{item['question']} {item['context'] or ''} {' '.join(item['answers'])}"
            for item in ITEMS
            if item["task"] != "made_up"
        )
        known = set(tokens(real))
        for item in of_kind("made_up"):
            assert any(len(word) > 4 and word not in known for word in tokens(item["question"]))


@pytest.mark.parametrize("item", of_kind("claims"), ids=lambda item: str(item["id"]))
def test_a_claim_is_read_as_one(item: Item) -> None:
    form = read_question(item["question"])
    assert (form.kind, form.claims, form.text) == ("yes or no", True, item["question"])
    assert outcome(item, "Yes.") == ("right" if item["answers"] == ["yes"] else "wrong")


def test_no_other_kind_is_read_as_a_claim() -> None:
    others = [item for item in ITEMS if item["task"] != "claims"]
    assert [i["question"] for i in others if read_question(i["question"]).claims] == []
