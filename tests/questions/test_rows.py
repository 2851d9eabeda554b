from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard.errors import InputError
from energy_guard.questions.grade import grade_row
from energy_guard.questions.rows import Question, read_rows

GOOD = {"id": "a", "task": "t", "question": "Which city?", "answers": ["York"]}


def write(path: Path, *lines: object) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def test_a_row_is_read_with_its_optional_keys(tmp_path: Path) -> None:
    full = GOOD | {"context": "York is old.", "choices": ["York", "Ely"], "answerable": True}
    file = write(tmp_path / "x.jsonl", full | {"more": 1}, "", GOOD | {"id": "b", "choices": None})
    first, second = read_rows([file])
    assert first == Question("a", "t", "Which city?", ("York",), "York is old.", ("York", "Ely"))
    assert second == Question("b", "t", "Which city?", ("York",))


def test_the_file_is_the_task_where_a_row_names_none(tmp_path: Path) -> None:
    row = {key: value for key, value in GOOD.items() if key != "task"}
    assert read_rows([write(tmp_path / "capitals.jsonl", row)])[0].task == "capitals"


@pytest.mark.parametrize("answers", [{"answers": []}, {"answers": None}, {}])
def test_what_is_unanswerable_needs_no_answers(tmp_path: Path, answers: dict[str, Any]) -> None:
    row = {"id": "a", "question": "Which city?", "answerable": False} | answers
    [read] = read_rows([write(tmp_path / "x.jsonl", row)])
    assert (read.answers, read.answerable) == ((), False)
    assert grade_row(read, "I don't know.") == "right"
    assert grade_row(read, "York") == "wrong"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{oops", "not JSON"),
        ("[1]", "not an object"),
        (GOOD | {"answers": []}, "no answers"),
        (GOOD | {"answers": None}, "no answers"),
        (GOOD | {"answers": {"York": 1}}, "answers"),
        (GOOD | {"answers": [{"York": 1}]}, "answers.0"),
        (GOOD | {"answers": [None]}, "answers.0"),
        (GOOD | {"answers": [float("inf")]}, "answers.0"),
        (GOOD | {"answers": [" "]}, "blank"),
        (GOOD | {"question": "\t"}, "blank"),
        (GOOD | {"id": [7]}, "id"),
        (GOOD | {"id": ""}, "id"),
        (GOOD | {"answerable": "no"}, "answerable"),
        (GOOD | {"choices": ["Ely", "Bath"]}, "no answer is one of the choices"),
        ({"id": "b", "question": "?"}, "no answers"),
        (GOOD | {"answers": [" "], "answerable": False}, "blank"),
        ('{"id": "b", "question": "\\ud83d?", "answers": ["x"]}', "surrogate"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: object, said: str) -> None:
    file = write(tmp_path / "x.jsonl", GOOD | {"id": "first"}, line)
    with pytest.raises(InputError, match=said) as caught:
        read_rows([file])
    assert f"{file}, line 2" in caught.value.message
    assert caught.value.hint


def test_an_id_twice_is_named_with_both_places(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1.jsonl", GOOD), write(tmp_path / "2.jsonl", GOOD)
    with pytest.raises(InputError) as caught:
        read_rows([one, two])
    assert f"{two}, line 1" in caught.value.message
    assert f"{one}, line 1" in caught.value.message


def test_bytes_that_are_no_text_are_named_by_line(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(json.dumps(GOOD).encode() + b'\n{"id": "\xff"}\n')
    with pytest.raises(InputError, match="line 2: this is not UTF-8"):
        read_rows([file])


def test_no_file_and_no_rows_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_rows([tmp_path / "none.jsonl"])
    with pytest.raises(InputError, match="no rows"):
        read_rows([write(tmp_path / "empty.jsonl", "")])


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    odd = GOOD | {"question": "Which\u2028city?"}
    file.write_text(json.dumps(odd, ensure_ascii=False), encoding="utf-8")
    assert read_rows([file])[0].question == "Which\u2028city?"


@given(st.text())
def test_any_text_is_read_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.mktemp("any") / "x.jsonl"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(InputError, match=r"x\.jsonl"):
        read_rows([file])
