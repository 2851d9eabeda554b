"""CSV, TSV and Parquet files of labelled questions."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard.errors import InputError
from energy_guard.questions.rows import Question, read_rows


def csv(folder: Path, text: str, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


def parquet(folder: Path, **columns: Any) -> Path:
    path = folder / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def golds(path: Path, **options: Any) -> list[tuple[str, ...]]:
    return [row.answers for row in read_rows([path], **options)]


@pytest.mark.parametrize(
    ("between", "name"), [(",", "t.csv"), (";", "t.csv"), ("\t", "t.csv"), ("\t", "t.tsv")]
)
def test_a_table_is_read_with_whatever_stands_between_its_cells(
    tmp_path: Path, between: str, name: str
) -> None:
    lines = [["id", "question", "answer", "context"], ["1", "Which city?", "York", ""]]
    path = csv(tmp_path, "\n".join(between.join(line) for line in lines) + "\n", name)
    assert read_rows([path]) == [Question("1", "t", "Which city?", ("York",))]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_quoted_line_break_belongs_to_its_cell(tmp_path: Path, end: str, mark: str) -> None:
    text = f'{mark}id,question,answer{end}1,"Which{end}city, then?",York{end}{end}2,Who?,"A ""B"""'
    first, second = read_rows([csv(tmp_path, text)])
    assert first.question.split() == ["Which", "city,", "then?"]
    assert "\r\n" not in first.question
    assert second.answers == ('A "B"',)


def test_places_count_lines_and_not_rows(tmp_path: Path) -> None:
    text = 'id,question,answer\n1,"Which\n\ncity?",York\n2,Which river?,\n'
    with pytest.raises(InputError, match="line 5: there are no answers"):
        read_rows([csv(tmp_path, text)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,question,answer\n1,Which?\n", "line 2: there are 2 cells under 3 headings"),
        ("id,question,answer\n1,Which?,York,old\n", "line 2: there are 4 cells"),
        ('id,question,answer\n1,"Which?,York\n2,Who?,Ann\n', "line 2: this is no row"),
        ('id,question,answer\n1,"Which"?,York\n', "line 2: this is no row"),
        ("id,question,answer,answer\n1,Which?,York,Ely\n", "two columns are called 'answer'"),
        ("id,question,answer\n", "has no rows"),
        ("id,question,answer\n1,Which?,NaN\n", "line 2: there are no answers"),
        ("id,question,answer\n1,,York\n", "line 2: there is no question"),
        ("id,question,answers\n1,Which?,\"['York', 'Ely']\"\n", "looks like a list"),
        ('id,question,answers\n1,Which?,"[0, 1]"\n', "may be a list or one answer"),
        ("id,question,choices,answer\n1,Which?,York or Ely,York\n", "not a list of choices"),
    ],
)
def test_what_is_no_table_of_questions_is_named_by_line(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_rows([csv(tmp_path, text)])
    assert "t.csv" in caught.value.message
    assert caught.value.hint


def test_bytes_of_another_encoding_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("question,answer\nOù?,Orléans\n".encode("latin-1"))
    with pytest.raises(InputError, match="line 2: this is not UTF-8"):
        read_rows([tmp_path / "t.csv"])


def test_cells_stay_as_they_are_written(tmp_path: Path) -> None:
    text = "question,answer\nA?,007\nB?,2.50\nC?,None\nD?, x\n"
    assert golds(csv(tmp_path, text)) == [("007",), ("2.50",), ("None",), (" x",)]


def test_whole_numbers_that_pandas_made_floats_lose_the_point(tmp_path: Path) -> None:
    text = "question,answerable,answer\nA?,True,2.0\nB?,True,-14.0\nC?,False,\n"
    assert golds(csv(tmp_path, text)) == [("2",), ("-14",), ()]
    text = "question,answer\nA?,2.0\nB?,2.5\n"
    assert golds(csv(tmp_path, text)) == [("2.0",), ("2.5",)], "these were no whole numbers"


def test_true_and_false_count_as_yes_and_no_too(tmp_path: Path) -> None:
    assert golds(csv(tmp_path, "question,answer\nA?,True\nB?,FALSE\n")) == [
        ("true", "yes"),
        ("false", "no"),
    ]
    text = "question,answer\nA?,True\nB?,Rome\n"
    assert golds(csv(tmp_path, text)) == [("True",), ("Rome",)], "a column of texts"


def test_several_answers_are_a_json_list_or_separated_if_asked(tmp_path: Path) -> None:
    lists = csv(tmp_path, 'question,answers\nA?,"[""Ouse"", ""River Ouse""]"\n')
    assert golds(lists) == [("Ouse", "River Ouse")]
    piped = csv(tmp_path, "question,answers\nA?,Ouse| River Ouse |\n")
    assert golds(piped) == [("Ouse| River Ouse |",)]
    assert golds(piped, separator="|") == [("Ouse", "River Ouse")]


def test_choices_of_a_table_may_be_named_by_letters(tmp_path: Path) -> None:
    text = "question,options,answer\nA?,York|Ely,B\nB?,A|B,B\n"
    rows = read_rows([csv(tmp_path, text)], separator="|")
    assert [(row.choices, row.answers) for row in rows] == [
        (("York", "Ely"), ("Ely",)),
        (("A", "B"), ("B",)),
    ]


def test_a_column_without_a_name_is_passed_over(tmp_path: Path) -> None:
    first, second = (
        read_rows([csv(tmp_path, f",question,answer\n{n},Which?,York\n")])[0] for n in (0, 7)
    )
    assert first == second


def test_parquet_keeps_lists_objects_and_numbers(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        id=[1, 2],
        question=["Which city?", "How many?"],
        answers=[
            {"text": ["York"], "answer_start": [0]},
            {"text": [], "answer_start": pyarrow.array([], pyarrow.int32()).to_pylist()},
        ],
    )
    assert read_rows([path]) == [
        Question("1", "t", "Which city?", ("York",)),
        Question("2", "t", "How many?", (), answerable=False),
    ]


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ([2.0, 14.0], ["2", "14"]),
        ([2, 14], ["2", "14"]),
        ([0.5, 1e300], ["0.5", str(int(1e300))]),
        ([decimal.Decimal("2.50"), decimal.Decimal("100.00")], ["2.5", "100"]),
        ([datetime.date(1989, 11, 9), None], ["1989-11-09"]),
        ([datetime.datetime(1989, 11, 9), datetime.datetime(1989, 11, 9, 8)],
         ["1989-11-09", "1989-11-09T08:00:00"]),
        ([np.array(["York", "Ely"]), np.array(["Bath"])], ["York", "Bath"]),
    ],
)  # fmt: skip
def test_values_of_parquet_become_texts(tmp_path: Path, values: list[Any], read: list[str]) -> None:
    path = parquet(
        tmp_path,
        question=["A?", "B?"],
        answer=values,
        answerable=[value is not None for value in values],
    )
    assert [answers[0] for answers in golds(path) if answers] == read


def test_booleans_of_parquet_count_as_yes_and_no_too(tmp_path: Path) -> None:
    path = parquet(tmp_path, question=["A?", "B?"], answer=[True, False])
    assert golds(path) == [("true", "yes"), ("false", "no")]


def test_gaps_of_pandas_are_nothing(tmp_path: Path) -> None:
    path = parquet(tmp_path, question=["A?", "B?"], answer=[2.0, float("nan")])
    with pytest.raises(InputError, match="row 2: there are no answers"):
        read_rows([path])


@pytest.mark.parametrize("raw", [b"PAR1", b"PAR1 and then nothing of the kind", b"", b"{}"])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(raw)
    with pytest.raises(InputError, match=r"x\.parquet cannot be read as Parquet"):
        read_rows([tmp_path / "x.parquet"])


@given(st.binary(), st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ".parquet"]))
def test_any_bytes_are_read_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, ending: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"x{ending}"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=rf"x\{ending}"):
        read_rows([path])
