from __future__ import annotations

import pytest

from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.locate.question import read_question
from energy_guard.questions.grade import grade_row
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import (
    EACH_KIND,
    WORDINGS,
    Kind,
    Wording,
    alike,
    few_shot,
    in_chat,
    kind_of,
    name_of,
    request_of,
    sharing,
    systems_of,
)
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


@pytest.mark.parametrize("row", [FREE, CHOICES, PASSAGE, SUM])
def test_plain_text_with_worked_examples_ends_where_the_answer_begins(row: Question) -> None:
    kind: Kind = kind_of(row)
    request = request_of(row, few_shot(2)[kind])
    assert request.mode == "raw"
    assert request.text is not None
    assert request.text.count("Question: ") == request.text.count("\nAnswer:") == 3
    assert request.text.endswith("\nAnswer:")
    assert (row.context or "") in request.text
    assert request.choices == row.offered
    assert request.stop == ("\n",)
    assert read_question(request.text) == read_question(row.question)


def test_requests_in_plain_text_share_all_up_to_the_question() -> None:
    one, other = sharing(few_shot(3)["passage"])
    text = request_of(PASSAGE, few_shot(3)["passage"]).text or ""
    assert one.text != other.text
    for request in (one, other):
        assert request.text is not None
        assert text.startswith(request.text.removesuffix("a").removesuffix("[1]"))
        assert "Jonas Reed" in request.text


def test_files_of_answers_tell_how_questions_were_put() -> None:
    names = [
        name_of(w) for w in (WORDINGS, alike(Wording("Be brief.", ())), few_shot(4), few_shot(1))
    ]
    assert names[:2] == ["one for each kind", "Be brief."]
    assert len(set(names)) == 4


def test_calibrate_and_eval_put_a_question_alike_with_the_same_system_message() -> None:
    row = Question("1", "t", "Which city?", ("York",))
    request = request_of(row, in_chat("Be brief.")[kind_of(row)])
    turns = [(m.role, m.content) for m in request.messages or ()]
    assert turns == [("system", "Be brief."), ("user", "Which city?")]
    silent = request_of(row, in_chat("")[kind_of(row)])
    assert [m.role for m in silent.messages or ()] == ["user"]


def test_the_name_of_a_wording_says_which_system_messages_it_has() -> None:
    assert systems_of(name_of(in_chat("Be brief."))) == ("Be brief.",)
    assert systems_of(name_of(few_shot(2))) == (None,)
    assert name_of(WORDINGS) == EACH_KIND
    assert systems_of(EACH_KIND) == tuple(wording.system for wording in WORDINGS.values())
