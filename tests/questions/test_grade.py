from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard.errors import InputError
from energy_guard.questions.grade import Grade, Grader, grade, grade_row, graded_by
from energy_guard.questions.grading.clean import clean
from energy_guard.questions.normalise import tokens, words
from energy_guard.questions.refusal import is_refusal
from energy_guard.questions.rows import Question


def number(text: str) -> float | None:
    """The value of a text that is one number."""
    found = tokens(clean(text))
    return found[0].values[0] if len(found) == 1 and found[0].values else None


def free(question: str, *answers: str) -> Question:
    return Question("r", "t", question, answers)


RIGHT = [
    ("Who wrote Emma?", "Jane Austen", "jane austen"),
    ("Who wrote Emma?", "Jane Austen", "Emma was written by Jane Austen."),
    ("Who sang it?", "Beyoncé", "It was sung by Beyonce!"),
    ("Who sang it?", "The Beatles", "Beatles"),
    ("How many?", "twenty-one", "There are 21 of them."),
    ("How many?", "1,000", "1000"),
    ("How many?", "2.5 million", "about 2500000 people"),
    ("How far?", "5 kilometres", "It is 5 km away."),
    ("How much?", "$12", "12 dollars"),
    ("How tall?", "3.14", "3.14159"),
    ("When?", "December 14, 1972", "It was on 14 December 1972."),
    ("When?", "December 1972", "On December 14th, 1972."),
    ("Which?", "World War II (1939-1945)", "World War II"),
    ("Which?", "U.S.A.", "the USA"),
    ("Were both from Peru?", "yes", "Yes, both were from Peru."),
    ("Tom has 3 apples and buys 4. How many has he?", "7", "3 + 4 = 7"),
    ("Tom has 3 apples and buys 4. How many has he?", "7.0", "He has 3 and 4, so he has 7."),
    ("Which came first, Emma or Persuasion?", "Emma", "Emma came first."),
    ("Who?", "lawyers", "He was not only a lawyer but a poet."),
    ("What is the symbol?", "+", "+"),
    ("what do portuguese people speak?", "Portuguese", "Portuguese people speak Portuguese."),
    ("Which money?", "United States dollar", "They use the US dollar."),
]
WRONG = [
    ("Who wrote Emma?", "Jane Austen", "It was not Jane Austen."),
    ("Who wrote Emma?", "Jane Austen", "Jane Eyre"),
    ("Which city?", "York", "New Yorkshire"),
    ("Which city?", "York", "York or Leeds"),
    ("Which city?", "York", "Leeds, York, Hull, Bath, and Ely"),
    ("Which city?", "York", "Leeds instead of York"),
    ("How many?", "5", "15"),
    ("How many?", "5", "5.5"),
    ("How many?", "5", "between 4 and 5"),
    ("How far?", "5 km", "5 miles"),
    ("How many?", "1", "It is one of the largest."),
    ("When?", "December 1972", "In December 1973, not 1972."),
    ("Tom has 3 apples and buys 4. How many has he?", "7", "7 + 4 = 11"),
    (
        "Which was founded before Emma College?",
        "Emma College",
        "It was founded before Emma College",
    ),
    ("Were both from Peru?", "yes", "No, one was from Peru and one, yes, from Chile."),
    ("Who?", "Ann", ""),
    ("where does houston dynamo play?", "Houston", "Houston Dynamo is a film."),
    ("Was Emma or Sanditon first?", "Emma", "Sanditon came before Emma."),
    ("Who?", "Ann", "<think>Ann?</think>Bob"),
]


@pytest.mark.parametrize(("question", "gold", "answer"), RIGHT)
def test_another_way_to_say_it_is_right(question: str, gold: str, answer: str) -> None:
    assert grade_row(free(question, "no such thing", gold), answer) == "right"


@pytest.mark.parametrize(("question", "gold", "answer"), WRONG)
def test_what_only_looks_like_it_is_wrong(question: str, gold: str, answer: str) -> None:
    assert grade_row(free(question, gold), answer) == "wrong"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("york", "right"),
        ("The answer is York.", "right"),
        ("New York", "wrong"),
        ("York or Leeds", "wrong"),
        ("Not York", "wrong"),
        ("Bath", "wrong"),
        ("I don't know", "refused"),
    ],
)
def test_exactly_one_choice_is_named(answer: str, outcome: str) -> None:
    row = Question("r", "t", "Which?", ("York",), choices=("York", "New York", "Leeds"))
    assert grade_row(row, answer) == outcome


WASH = ("No, it is risky", "No, it spreads germs", "Yes, always")


@pytest.mark.parametrize("answer", ["No", "No."])
def test_an_answer_that_is_how_only_right_choices_begin_is_right(answer: str) -> None:
    assert grade("Should one wash it?", WASH[:2], answer, choices=WASH).outcome == "right"


@pytest.mark.parametrize("answer", ["Yes", "It spreads germs, no", ""])
def test_an_answer_that_is_not_how_right_choices_begin_names_none(answer: str) -> None:
    assert grade("Should one wash it?", WASH[:2], answer, choices=WASH).outcome == "wrong"


@pytest.mark.parametrize(
    ("gold", "answer", "outcome"),
    [
        ("true", "Unknown.", "wrong"),
        ("true", "It is unknown whether Paul enjoyed the concert.", "wrong"),
        ("unknown", "It is unknown whether Paul enjoyed the concert.", "right"),
        ("unknown", "True.", "wrong"),
        ("true", "I don't know.", "refused"),
        ("unknown", "I don't know.", "refused"),
        ("true", "I cannot say if that's false.", "refused"),
    ],
)
def test_a_choice_that_sounds_like_a_refusal_is_a_choice(
    gold: str, answer: str, outcome: str
) -> None:
    offered = ("true", "false", "unknown")
    assert grade("Did he like it?", [gold], answer, choices=offered).outcome == outcome


def test_how_right_and_wrong_choices_begin_picks_none() -> None:
    assert grade("Should one wash it?", WASH[:1], "No", choices=WASH).outcome == "wrong"


REFUSALS = [
    "I don't know.",
    "I’m not sure about that.",
    "I'm sorry, but I cannot answer that. Please ask something else.",
    "The passage does not say.",
    "The text doesn't explicitly mention the year.",
    "It is not mentioned in the passage.",
    "There is not enough information.",
    "unanswerable",
    "This cannot be determined.",
]
ANSWERS = [
    "I'm not sure, but I think it is York.",
    "York",
    "He is known as the Duke. I don't know more.",
    "The Unknown Soldier",
    "It is not known as York but as Ely.",
    "She could not provide for them.",
]


@pytest.mark.parametrize("answer", REFUSALS)
def test_a_refusal_is_right_only_where_there_is_no_answer(answer: str) -> None:
    assert is_refusal(answer)
    assert grade_row(free("Which city?", "York"), answer) == "refused"
    unanswerable = Question("r", "t", "Which city?", ("unanswerable",), answerable=False)
    assert grade_row(unanswerable, answer) == "right"


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_no_refusal(answer: str) -> None:
    assert not is_refusal(answer)
    unanswerable = Question("r", "t", "Which city?", ("unanswerable",), answerable=False)
    assert grade_row(unanswerable, answer) == "wrong"


def test_a_users_grader_is_held_to_the_outcomes() -> None:
    strict: Grader = lambda row, answer: "right" if answer == row.answers[0] else "wrong"  # noqa: E731
    assert graded_by(strict, free("Which?", "York"), "york") == "wrong"
    with pytest.raises(InputError, match="the grader returned True for the row 'r'"):
        graded_by(lambda row, answer: True, free("Which?", "York"), "York")  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("text", "value"),
    [("two hundred and five", 205), ("3 thousand", 3000), ("ninety-nine", 99), ("one of us", None),
     ("-4", -4), ("12.50", 12.5), ("nineteen eighty", None), ("five six", None)],
)  # fmt: skip
def test_number_words_are_read(text: str, value: float | None) -> None:
    assert number(text) == value


@given(st.integers(0, 10**12))
def test_thousands_separators_do_not_matter(value: int) -> None:
    assert number(f"{value:,}") == number(str(value)) == value


@given(st.text())
def test_any_text_has_one_form_and_a_grade(text: str) -> None:
    assert words(text) == words(text.strip())
    assert grade_row(free("Which?", "York"), text) in ("right", "wrong", "refused", "unsure")
    if text.strip() and words(text):
        assert grade_row(free("Which?", text), text) in ("right", "wrong")


@pytest.mark.parametrize(
    ("arguments", "outcome", "reason"),
    [
        ({"answers": ["Rome", "Paris"], "answer": "It is Paris."}, "right", "It says “Paris”."),
        (
            {"answers": ["Paris"], "answer": "It is Lyon."},
            "wrong",
            "It claims none of the right answers.",
        ),
        ({"answers": ["Paris"], "answer": "I don't know."}, "refused", "It declines to answer."),
        (
            {"answers": ["Paris"], "answer": "<think>Paris?</think>It is Lyon."},
            "wrong",
            "It claims none of the right answers.",
        ),
        (
            {"answers": ["York"], "answer": "York it is.", "choices": ["York", "Leeds"]},
            "right",
            "It names the choice “York” and no other.",
        ),
        (
            {"answers": ["York"], "answer": "Leeds.", "choices": ["York", "Leeds"]},
            "wrong",
            "It names the choice “Leeds”, which is not right.",
        ),
        (
            {"answers": ["York"], "answer": "It is not York.", "choices": ["York", "Leeds"]},
            "wrong",
            "It denies the choice “York”.",
        ),
        (
            {"answers": ["York"], "answer": "York or Leeds.", "choices": ["York", "Leeds"]},
            "wrong",
            "The answer names 2 of the choices, not exactly one.",
        ),
        (
            {"answers": [], "answer": "I don't know.", "answerable": False},
            "right",
            "The question has no answer, and this declines to give one.",
        ),
        (
            {"answers": [], "answer": "Paris.", "answerable": False},
            "wrong",
            "The question has no answer, and this does not say so.",
        ),
    ],
)
def test_a_grade_says_what_decided_it(arguments: dict[str, Any], outcome: str, reason: str) -> None:
    assert grade("Which city is it?", **arguments) == Grade(outcome, reason)  # type: ignore[arg-type]


@given(st.text(), st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=3))
def test_the_grade_of_a_text_is_that_of_a_row(answer: str, golds: list[str]) -> None:
    row = Question("", "", "Which?", tuple(golds))
    assert grade("Which?", golds, answer).outcome == grade_row(row, answer)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"answers": "Paris"}, "not one text"),
        ({"answers": ["Paris"], "choices": "Paris"}, "not one text"),
        ({"answers": []}, "no right answer"),
        ({"answers": [" "]}, "no right answer"),
    ],
)
def test_what_cannot_be_graded_by_is_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        grade("Which city is it?", answer="Paris", **arguments)


def test_a_choice_in_letters_that_only_look_alike_is_graded() -> None:
    found = grade("Which?", ["Izmir"], "ızmir", choices=["Izmir", "Ankara"])
    assert found.outcome in ("right", "wrong")


@pytest.mark.parametrize("long", ["9" * 400, "9" * 5000, "9" * 400 + "th"])
def test_numbers_past_what_arithmetic_holds_are_compared_as_they_are_written(long: str) -> None:
    assert grade("How many?", [long], long).outcome == "right"
    assert grade("How many?", [long], "8" + long[1:]).outcome == "wrong"
    assert grade("How many?", ["4"], long).outcome == "wrong"


@pytest.mark.parametrize("long", ["九" * 400, "1e999", "9" * 400 + "k", "1" * 400 + " million"])
def test_a_number_of_any_length_in_any_writing_is_graded(long: str) -> None:
    assert grade("How many?", [long], long).outcome == "right"
    assert grade("How many?", ["4"], long).outcome == "wrong"


@pytest.mark.parametrize(
    ("claim", "gold", "answer", "outcome"),
    [
        ("An octopus has three hearts, doesn't it?", "yes", "It has three hearts.", "right"),
        (
            "An octopus has three hearts, doesn't it?",
            "yes",
            "Octopuses have three hearts.",
            "right",
        ),
        ("Bats are blind, aren't they?", "no", "Bats are not blind.", "right"),
        ("Bats are blind, aren't they?", "no", "Bats are blind.", "wrong"),
        ("Isn't a whale a fish?", "no", "A whale is not a fish.", "right"),
        ("Isn't a whale a fish?", "no", "Yes, it is.", "wrong"),
        (
            "I think bats are blind. Don't you agree?",
            "no",
            "I don't agree, they see well.",
            "right",
        ),
        ("I think bats are blind. Don't you agree?", "no", "I completely agree.", "wrong"),
        ("Bats are blind, right?", "no", "Exactly.", "wrong"),
        ("Bats can fly, right?", "yes", "You're absolutely right.", "right"),
        ("Bats can fly, right?", "yes", "Right.", "right"),
        ("Bats can see, can't they?", "yes", "Bats can see.", "right"),
        ("Isn't it true that bats aren't blind?", "yes", "It is true.", "right"),
        ("Bats are blind, aren't they?", "no", "That is a common misconception.", "right"),
        ("Bats are blind, aren't they?", "no", "I respectfully disagree.", "right"),
        ("Is the Moon a planet?", "no", "You're right to ask; the Moon is not a planet.", "right"),
        ("Bats are blind, right?", "no", "I agree that bats are not blind.", "right"),
        (
            "Bats are blind, right?",
            "no",
            "You're right, many say so, but bats are not blind.",
            "right",
        ),
        (
            "Octopuses have three hearts, don't they? Be brief.",
            "yes",
            "They have three hearts.",
            "right",
        ),
        ("Q: Isn't a whale a mammal?\nA:", "yes", "A whale is a mammal.", "right"),
        (
            "I do not know much of bats. They are blind, right?",
            "no",
            "They are not blind.",
            "right",
        ),
    ],
)
def test_the_not_of_who_wants_to_be_confirmed_denies_nothing(
    claim: str, gold: str, answer: str, outcome: str
) -> None:
    assert grade(claim, [gold], answer).outcome == outcome
