"""JSON files of labelled questions in the shapes in which they are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from energy_guard.errors import InputError
from energy_guard.questions.rows import Question, read_rows

ROWS = [
    {"id": "a", "question": "Which city?", "answers": ["York"]},
    {"id": "b", "question": "Which river?", "answers": ["Ouse", "River Ouse"]},
]
READ = [
    Question("a", "towns", "Which city?", ("York",)),
    Question("b", "towns", "Which river?", ("Ouse", "River Ouse")),
]
SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "York",
            "paragraphs": [
                {
                    "context": "York is on the Ouse.",
                    "qas": [
                        {
                            "id": "s1",
                            "question": "Which river?",
                            "answers": [
                                {"text": "Ouse", "answer_start": 15},
                                {"text": "the Ouse", "answer_start": 11},
                                {"text": "Ouse", "answer_start": 15},
                            ],
                            "is_impossible": False,
                        },
                        {
                            "id": "s2",
                            "question": "Which king?",
                            "answers": [],
                            "plausible_answers": [{"text": "York", "answer_start": 0}],
                            "is_impossible": True,
                        },
                    ],
                }
            ],
        }
    ],
}


def write(folder: Path, data: object, name: str = "towns.json", **options: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(data, **options), encoding="utf-8")
    return path


@pytest.mark.parametrize("data", [ROWS, {"data": ROWS}, {"version": 1, "data": ROWS}])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["towns.json", "towns.jsonl"])
def test_a_list_of_rows_is_read_however_it_is_wrapped(
    tmp_path: Path, data: object, indent: int | None, name: str
) -> None:
    assert read_rows([write(tmp_path, data, name, indent=indent)]) == READ


def test_one_row_over_several_lines_is_a_row(tmp_path: Path) -> None:
    assert read_rows([write(tmp_path, ROWS[0], indent=2)]) == READ[:1]


@pytest.mark.parametrize(("end", "mark"), [("\n", ""), ("\r\n", ""), ("\n", "\ufeff")])
def test_lines_may_end_as_on_windows_and_a_byte_order_mark_may_come_first(
    tmp_path: Path, end: str, mark: str
) -> None:
    text = mark + end.join(map(json.dumps, ROWS)) + end
    (tmp_path / "towns.json").write_bytes(text.encode())
    assert read_rows([tmp_path / "towns.json"]) == READ


@pytest.mark.parametrize("data", [SQUAD, SQUAD["data"]])
def test_squads_nested_questions_keep_their_paragraph_and_unanswerable_ones_are_known(
    tmp_path: Path, data: object
) -> None:
    context = "York is on the Ouse."
    assert read_rows([write(tmp_path, data)]) == [
        Question("s1", "towns", "Which river?", ("Ouse", "the Ouse"), context),
        Question("s2", "towns", "Which king?", (), context, answerable=False),
    ]


def test_a_nested_question_is_named_by_its_place(tmp_path: Path) -> None:
    data = json.loads(json.dumps(SQUAD))
    data["data"][0]["paragraphs"][0]["qas"][1]["question"] = None
    with pytest.raises(InputError, match="item 1, paragraph 1, question 2: there is no question"):
        read_rows([write(tmp_path, data)])
    del data["data"][0]["paragraphs"][0]["qas"]
    with pytest.raises(InputError, match="item 1, paragraph 1: there is no list qas"):
        read_rows([write(tmp_path, data)])


def test_a_key_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    twice = '{"id": "c", "question": "Which?", "answers": ["York"], "answers": ["Ely"]}'
    (tmp_path / "x.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + twice)
    with pytest.raises(InputError, match=r"line 2: the key 'answers' is given twice"):
        read_rows([tmp_path / "x.jsonl"])
    (tmp_path / "x.jsonl").write_text(twice)
    with pytest.raises(InputError, match=r"line 1: the key 'answers' is given twice"):
        read_rows([tmp_path / "x.jsonl"])


@pytest.mark.parametrize("data", [[], {"data": []}])
def test_a_list_without_rows_is_refused(tmp_path: Path, data: object) -> None:
    with pytest.raises(InputError, match="has no rows"):
        read_rows([write(tmp_path, data)])


def test_an_item_that_is_no_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="item 2: this is not an object"):
        read_rows([write(tmp_path, [ROWS[0], "York"])])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x1f\x8b\x08\x00", "packed by gzip"),
        (b"PK\x03\x04\x14\x00", "a spreadsheet or a zip archive"),
        ("[]".encode("utf-16"), "UTF-16"),
    ],
)
def test_files_that_are_no_text_are_called_what_they_are(
    tmp_path: Path, raw: bytes, said: str
) -> None:
    (tmp_path / "x.jsonl").write_bytes(raw)
    with pytest.raises(InputError, match=said) as caught:
        read_rows([tmp_path / "x.jsonl"])
    assert caught.value.hint
