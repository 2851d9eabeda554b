"""To say that something made up does not exist is a right answer about it."""

from __future__ import annotations

import pytest

from energy_guard import grade
from energy_guard.questions.grade import grade_row
from energy_guard.questions.nonexistence import says_there_is_none
from energy_guard.questions.rows import Question

DENIED = (
    "There is no drug called Velparotin.",
    "Velparotin does not exist.",
    "It doesn’t actually exist.",
    "No such drug exists.",
    "There is no such film.",
    "Velparotin is not a real drug.",
    "Velparotin appears to be a fictional drug.",
    "King Osbrecht the Ninth never existed.",
    "I have never heard of it.",
    "There was no king of Portugal named Osbrecht.",
)
GONE_ALONG_WITH = (
    "5 mg twice a day.",
    "There is no usual dose: it depends on the patient.",
    "The hero is a fictional character named Tom.",
    "The hero is a fictional character.",
    "It does not exist as a pill, but adults take 5 ml.",
    "Osbrecht died in 1640.",
    "It is not real gold.",
    "There are no side effects.",
)


@pytest.mark.parametrize("answer", DENIED)
def test_what_is_made_up_may_be_called_so(answer: str) -> None:
    assert says_there_is_none(answer)
    assert grade("What is the dose of Velparotin?", [], answer, answerable=False).outcome == "right"


@pytest.mark.parametrize("answer", GONE_ALONG_WITH)
def test_to_go_along_is_wrong(answer: str) -> None:
    assert not says_there_is_none(answer)
    assert grade("What is the dose of Velparotin?", [], answer, answerable=False).outcome == "wrong"


@pytest.mark.parametrize("answer", DENIED)
def test_of_a_passage_only_declining_is_right(answer: str) -> None:
    """What a passage does not say may well exist."""
    row = Question("1", "t", "What is it called?", (), "A passage.", (), answerable=False)
    assert grade_row(row, answer) == "wrong"


def test_of_a_question_with_an_answer_a_denial_is_wrong() -> None:
    assert grade("Who wrote Faust?", ["Goethe"], "Faust does not exist.").outcome == "wrong"
