"""The answers labelled by hand, and the figures that are made from them."""

import json
from pathlib import Path

import pytest

from benchmarks.grading import confusion_table, error_table
from benchmarks.hand_labelled import (
    QUESTIONS,
    Graded,
    Labelled,
    agreement,
    graded,
    read_labelled,
)
from energy_guard.errors import InputError
from energy_guard.questions.rows import Question, read_rows


def labelled(first="right", second=None, label=None, **fields):
    """A labelled answer; both passes say the same unless told otherwise."""
    second = second or first
    given = {"row": "r1", "model": "m", "answer": "Paris", "kind": "free", **fields}
    return Labelled(**given, first=first, second=second, label=label or second)


def cells(table):
    """The lines of a table by their first cell."""
    first, *others = (list(column.cells) for column in table.columns)
    return {name: [cells[n] for cells in others] for n, name in enumerate(first)}


def test_there_are_400_answers_of_three_models_in_eight_languages():
    items = read_labelled()
    assert len(items) >= 400
    assert {"embedded", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"} <= {i.model for i in items}
    assert len({item.kind for item in items if item.group == "other languages"}) >= 8
    assert {item.group for item in items} == {
        "free", "passage", "choices", "number", "other languages",
    }  # fmt: skip


def test_no_answer_is_there_twice():
    items = read_labelled()
    assert len({(i.row, i.model, i.answer) for i in items}) == len(items)


def test_every_own_question_was_asked_of_all_three_models():
    asked = {(item.row, item.model) for item in read_labelled()}
    models = {"embedded", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"}
    assert {(row.id, model) for row in read_rows([QUESTIONS]) for model in models} <= asked


def test_own_questions_are_of_the_kind_that_the_answers_say():
    rows = {row.id: row for row in read_rows([QUESTIONS])}
    for item in read_labelled():
        if item.row in rows:
            task = {"unknowable": "free"}.get(rows[item.row].task, rows[item.row].task)
            assert item.kind == task


def test_a_final_label_against_two_passes_that_agree_is_refused(tmp_path):
    path = tmp_path / "labels.jsonl"
    line = labelled().model_dump() | {"label": "wrong"}
    path.write_text(json.dumps(line) + "\n", "utf-8")
    with pytest.raises(InputError, match="line 1: both passes say right"):
        read_labelled(path)


@pytest.mark.parametrize("change", [{"label": "maybe"}, {"text": "of the data"}, {"first": None}])
def test_a_line_that_is_no_labelled_answer_is_refused(tmp_path: Path, change):
    path = tmp_path / "labels.jsonl"
    good = labelled().model_dump()
    path.write_text(f"{json.dumps(good)}\n{json.dumps(good | change)}\n", "utf-8")
    with pytest.raises(InputError, match="line 2"):
        read_labelled(path)


def test_an_answer_whose_question_is_not_in_the_data_is_an_error():
    with pytest.raises(InputError, match=r"1 of 2 labelled answers.*'r2'"):
        graded([labelled(), labelled(row="r2")], [Question("r1", "t", "Which city?", ("Paris",))])


def test_answers_are_graded_by_the_question_with_their_id():
    rows = [Question("r1", "t", "Which city?", ("Paris",)), Question("r2", "t", "Who?", ("Ann",))]
    found = graded([labelled(row="r2"), labelled()], rows)
    assert [each.outcome for each in found] == ["wrong", "right"]


def test_unsure_by_either_is_counted_apart_and_in_no_share():
    answers = [
        Graded(labelled("right"), "right"),
        Graded(labelled("right"), "wrong"),
        Graded(labelled("wrong"), "right"),
        Graded(labelled("right"), "unsure"),
        Graded(labelled("unsure"), "wrong"),
    ]
    line = cells(error_table(answers))["all"]
    assert line[:8] == ["5", "1", "1", "3", "1", "1", "2", "66.7%"]


def test_errors_are_counted_by_kind_with_all_languages_in_one_and_by_model():
    answers = [
        Graded(labelled("right", kind="de", model="a"), "wrong"),
        Graded(labelled("right", kind="ja", model="b"), "right"),
        Graded(labelled("right", kind="choices", model="b"), "right"),
    ]
    table = cells(error_table(answers))
    assert list(table) == ["other languages", "choices", "a", "b", "all"]
    assert table["other languages"][6:8] == ["1", "50.0%"]
    assert table["b"][6:8] == ["0", "0.0%"]


def test_a_group_with_nothing_decided_has_no_share():
    answers = [Graded(labelled("unsure"), "right")]
    assert cells(error_table(answers))["all"][7:] == ["–", "–"]


def test_confusion_has_grades_in_lines_and_labels_in_columns():
    answers = [Graded(labelled("refused"), "wrong"), Graded(labelled("refused"), "wrong")]
    table = cells(confusion_table(answers))
    assert table["wrong"] == ["0", "0", "2", "0"]
    assert table["refused"] == ["0", "0", "0", "0"]


def test_agreement_is_the_share_of_equal_labels_and_kappa_is_corrected_for_chance():
    # Half and half in both passes, three of four alike: (0.75 - 0.5) / (1 - 0.5).
    items = [
        labelled("right"),
        labelled("right"),
        labelled("wrong"),
        labelled("wrong", "right", "wrong"),
        labelled("wrong"),
        labelled("wrong"),
        labelled("right"),
        labelled("right", "wrong", "right"),
    ]
    found = agreement(items)
    assert (found.n, found.same) == (8, 6)
    assert found.kappa == pytest.approx(0.5)
