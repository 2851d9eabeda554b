from __future__ import annotations

import pytest

from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.questions.grade import grade_row
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import WORDINGS, kind_of, request_of
from energy_guard.request import Finished

FREE = Question("1", "t", "What is the capital of France?", ("Paris",))
CHOICES = Question("2", "t", "Is snow white?", ("yes",), choices=("yes", "no"))
LONG = ("The mill burned down in the spring", "The mill was sold to a baker")
PASSAGE = Question(
    "3", "t", "What happened?", LONG[:1], context="In March 1840 the mill burned down."
)
SUM = Question("4", "t", "Ann has 3 pens and 4 cups. How many things has she?", ("7",))


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (FREE, "free"),
        (CHOICES, "choices"),
        (PASSAGE, "passage"),
        (SUM, "calculation"),
        (Question("5", "t", "What happened?", LONG[:1], choices=LONG), "choices"),
        (Question("6", "t", "What happened?", LONG[:1], "The mill …", LONG), "passage"),
    ],
)
def test_the_kind_follows_from_the_question(row: Question, kind: str) -> None:
    assert kind_of(row) == kind


def test_choices_are_told_and_passages_are_context() -> None:
    request = request_of(CHOICES)
    assert request.choices == ("yes", "no")
    assert request.question.endswith("Choose one: yes or no.")
    with_passage = request_of(PASSAGE)
    assert with_passage.choices == ()
    assert with_passage.context == (PASSAGE.context,)
    assert with_passage.turns()[-1].content.startswith("[1] In March")


def test_rows_of_a_kind_share_all_but_the_last_turn() -> None:
    other = Question("9", "t", "Who wrote Emma?", ("Jane Austen",))
    one, two = request_of(FREE).turns(), request_of(other).turns()
    assert one[:-1] == two[:-1]
    assert one[-1] != two[-1]


def test_no_wording_holds_the_answer_to_a_row_of_the_demo() -> None:
    said = " ".join(f"{q} {a}" for w in WORDINGS.values() for q, a in w.examples)
    assert "Paris" not in said


def test_the_embedded_model_answers_in_few_words(demo: LlamaCpp) -> None:
    with demo.session() as session:
        events = session.generate([request_of(FREE)])
        trace = next(event.trace for event in events if isinstance(event, Finished))
    assert grade_row(FREE, trace.text) == "right"
    assert len(trace) < 16
