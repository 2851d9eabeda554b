"""Which column of a file holds what, and what is asked for if nobody can know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from energy_guard.errors import InputError
from energy_guard.questions.reading.columns import parse_columns
from energy_guard.questions.rows import Question, read_rows


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "t.jsonl"


@pytest.mark.parametrize("question", ["question", "query", "prompt", "input", "Question"])
@pytest.mark.parametrize(
    "answers", ["answers", "answer", "gold", "target", "label", "reference", "Best Answer"]
)
@pytest.mark.parametrize("context", ["context", "passage", "document"])
def test_usual_names_are_understood(
    tmp_path: Path, question: str, answers: str, context: str
) -> None:
    row = {"qid": 3, question: "Which city?", answers: "York", context: "York is old.", "x": 1}
    assert read_rows([write(tmp_path, row)]) == [
        Question("3", "t", "Which city?", ("York",), "York is old.")
    ]


def test_what_was_guessed_is_said(tmp_path: Path) -> None:
    notes: list[str] = []
    path = write(tmp_path, {"prompt": "Which city?", "answers": ["York"]})
    read_rows([path], on_note=notes.append)
    assert notes == [f"{path}: read as question = 'prompt'"]


def test_other_names_are_asked_for_with_those_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path, {"frage": "Welche Stadt?", "gold": "York"})
    with pytest.raises(InputError) as caught:
        read_rows([path])
    assert "no column for the question; the columns are 'frage', 'gold'" in caught.value.message
    assert caught.value.hint == "Say which it is: --column question=NAME"
    [row] = read_rows([path], columns={"question": "frage"})
    assert (row.question, row.answers) == ("Welche Stadt?", ("York",))
    with pytest.raises(InputError, match="no column 'fragen': the columns are 'frage'"):
        read_rows([path], columns={"question": "fragen"})


def test_two_usual_names_are_asked_about_unless_one_is_exact(tmp_path: Path) -> None:
    both = {"question": "Which city?", "target": "York", "output": "Ely"}
    with pytest.raises(InputError, match="may hold the answers: 'target', 'output'"):
        read_rows([write(tmp_path, both)])
    [row] = read_rows([write(tmp_path, both)], columns={"answers": "output"})
    assert row.answers == ("Ely",)
    [row] = read_rows([write(tmp_path, both | {"answers": ["Bath"]})])
    assert row.answers == ("Bath",)


def test_what_is_said_about_columns_is_checked() -> None:
    assert parse_columns(["answers=a = b"]) == {"answers": "a = b"}
    for wrong in ("answers", "answers=", "answer=x", "=x"):
        with pytest.raises(InputError, match="says no column"):
            parse_columns([wrong])
    with pytest.raises(InputError, match="twice"):
        parse_columns(["id=a", "id=b"])


def test_made_ids_follow_from_what_is_asked_and_from_nothing_else(tmp_path: Path) -> None:
    rows = [{"question": f"{n}?", "answer": n, "context": "C"} for n in (1, 2)]
    ids = {row.question: row.id for row in read_rows([write(tmp_path, *rows)])}
    turned = read_rows([write(tmp_path, {"question": "0?", "answer": 0}, *reversed(rows))])
    assert {row.question: row.id for row in turned[1:]} == ids
    [other] = read_rows([write(tmp_path, rows[0] | {"context": "D"})])
    assert other.id != ids["1?"]
    assert len(set(ids.values())) == 2


@pytest.mark.parametrize("ids", [("a", "a"), ("a", "b"), (None, None)])
def test_two_right_answers_to_the_same_question_are_named_with_both_lines(
    tmp_path: Path, ids: tuple[str | None, str | None]
) -> None:
    rows = [
        {"question": "Which city?", "answer": answer} | ({"id": name} if name else {})
        for name, answer in zip(ids, ("York", "Ely"), strict=True)
    ]
    with pytest.raises(InputError) as caught:
        read_rows([write(tmp_path, *rows)])
    assert "line 2: the same question has other right answers in" in caught.value.message
    assert "line 1" in caught.value.message


def test_the_same_words_about_another_passage_or_choice_are_another_question(
    tmp_path: Path,
) -> None:
    row = {"question": "Which city?", "answer": "York", "choices": ["York", "Ely"]}
    others = [row | {"context": "C", "answer": "Ely"}, row | {"choices": ["Ely"], "answer": "Ely"}]
    assert len(read_rows([write(tmp_path, row, *others)])) == 3


@pytest.mark.parametrize("name", [{"id": "a"}, {}])
def test_a_row_that_repeats_another_counts_once_and_that_is_said(
    tmp_path: Path, name: dict[str, str]
) -> None:
    row = {"question": "Which city?", "answers": ["York"], **name}
    notes: list[str] = []
    path = write(tmp_path, row, row, row)
    assert len(read_rows([path], on_note=notes.append)) == 1
    assert notes == [f"{path}: 2 rows repeat another and count once (first: {path}, line 2)"]


def test_published_shapes_of_answers_are_read(tmp_path: Path) -> None:
    arc = {"text": ["York", "Ely"], "label": ["A", "B"]}
    numbered = {"text": ["2", "1"], "label": ["1", "2"]}
    trivia = {"value": "York", "aliases": ["Eboracum", "York"], "type": "WikipediaEntity"}
    rows = [
        ({"answers": {"text": ["York"], "answer_start": [0]}}, ("York",)),
        ({"answer": trivia}, ("York", "Eboracum")),
        ({"answer": True}, ("true", "yes")),
        ({"answer": 2.0}, ("2",)),
        ({"answers": [1, "one"]}, ("1", "one")),
        ({"choices": arc, "answerKey": "B"}, ("Ely",)),
        ({"choices": numbered, "answerKey": "2"}, ("1",)),
        ({"choices": [{"label": "A", "text": "York"}, {"label": "B", "text": "Ely"}],
          "answerKey": "A"}, ("York",)),
        ({"choices": ["York", "Ely"], "answer": "Ely"}, ("Ely",)),
    ]  # fmt: skip
    for row, read in rows:
        assert read_rows([write(tmp_path, {"question": "?"} | row)])[0].answers == read


def test_an_answer_that_is_a_choice_and_the_label_of_another_is_refused(tmp_path: Path) -> None:
    choices = {"text": ["2", "1"], "label": ["1", "2"]}
    with pytest.raises(InputError, match="the answer '2' is a choice, and the label of another"):
        read_rows([write(tmp_path, {"question": "?", "choices": choices, "answer": "2"})])


def test_a_position_among_choices_is_not_guessed(tmp_path: Path) -> None:
    row = {"question": "?", "choices": ["York", "Ely"], "answer": 1}
    with pytest.raises(InputError, match="no answer is one of the choices") as caught:
        read_rows([write(tmp_path, row)])
    assert "a number may count from 0 or from 1" in str(caught.value.hint)
    numbers = {"question": "?", "choices": ["4", "5"], "answer": "6"}
    with pytest.raises(InputError, match="no answer is one of the choices") as caught:
        read_rows([write(tmp_path, numbers)])
    assert caught.value.hint == "Spell them alike."


def test_labels_that_do_not_go_with_their_texts_are_refused(tmp_path: Path) -> None:
    choices = {"text": ["York", "Ely"], "label": ["A"]}
    with pytest.raises(InputError, match="2 texts and 1 labels"):
        read_rows([write(tmp_path, {"question": "?", "choices": choices, "answerKey": "A"})])


def test_an_answer_to_what_is_said_to_have_none_is_no_contradiction_but_the_reverse_is(
    tmp_path: Path,
) -> None:
    row = {"question": "Which city?", "answers": {"text": []}}
    assert not read_rows([write(tmp_path, row)])[0].answerable
    with pytest.raises(InputError, match="there are no answers"):
        read_rows([write(tmp_path, row | {"answerable": True})])
    [read] = read_rows([write(tmp_path, row | {"answers": ["York"], "is_impossible": True})])
    assert (read.answers, read.answerable) == (("York",), False)
