"""Labelled questions from files, checked before any model time is spent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from energy_guard.errors import InputError
from energy_guard.questions.reading.cells import Cell
from energy_guard.questions.reading.columns import IMPOSSIBLE, columns_of, plain
from energy_guard.questions.reading.json_files import json_records
from energy_guard.questions.reading.record import SHAPE, Record, decode, read_bytes
from energy_guard.questions.reading.tables import PARQUET, csv_records, parquet_records


@dataclass(frozen=True, slots=True)
class Question:
    """One labelled question.

    answers: the gold answer and its aliases; none are needed where it is not answerable. choices:
    among which the answer is; empty where it is free. answerable: False where the right thing is
    to say that one cannot know.

    >>> Question("r1", "capitals", "What is the capital of France?", ("Paris",)).answerable
    True
    """

    id: str
    task: str
    question: str
    answers: tuple[str, ...]
    context: str | None = None
    choices: tuple[str, ...] = ()
    answerable: bool = True

    @property
    def offered(self) -> tuple[str, ...]:
        """The choices that the model is told; none where they are sentences about a passage."""
        short = all(len(choice.split()) <= _LABEL for choice in self.choices)
        return self.choices if short or self.context is None else ()

    @property
    def asked(self) -> tuple[str, str | None, tuple[str, ...]]:
        """What the model is to know of it: two rows with the same are the same question."""
        return self.question, self.context, self.choices

    @property
    def digest(self) -> str:
        """What all is a digest of that an answer and its grade depend on."""
        labelled = [*self.asked, self.answers, self.answerable]
        return hashlib.sha256(json.dumps(labelled).encode()).hexdigest()[:32]


_LABEL: Final = 4
"""Words of a choice that is a label."""


def read_rows(
    paths: Iterable[str | Path],
    *,
    columns: Mapping[str, str] | None = None,
    separator: str | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> list[Question]:
    """Read every row of some files, in order; columns that are not known are passed over.

    JSON (objects one a line, a list, or {"data": [...]}, nested as in SQuAD too), CSV, TSV and
    Parquet. `task` is the file's name where a row has none, and `id` a digest of what is asked.

    Args:
        paths: The files.
        columns: Names of columns by what stands in them (keys of `reading.columns.USUAL`); what
            is not said is guessed from usual names.
        separator: What stands between several answers, or choices, in one text.
        on_note: Called with each thing to know about how a file was read.

    Raises:
        InputError: A file is not UTF-8 or not of these shapes, a row cannot be asked or graded, an
            id comes twice, or a question has two different right answers. It names file and line.
        MissingExtraError: A Parquet file, and pyarrow is not installed.

    """
    rows: list[Question] = []
    ids: dict[str, str] = {}
    for path in map(Path, paths):
        own = _of_file(path, columns or {}, separator, on_note)
        for place, row in own:
            if row.id in ids:
                raise InputError(f"{place}: the id {row.id!r} was used in {ids[row.id]}", _ID)
            ids[row.id] = place
            rows.append(row)
    return rows


_ID: Final = "Give every row an id of its own: results are stored by it."


def _of_file(
    path: Path,
    columns: Mapping[str, str],
    separator: str | None,
    on_note: Callable[[str], None],
) -> list[tuple[str, Question]]:
    """The rows of one file with their places, without those that repeat another word for word."""
    records = _records(path)
    if not records:
        raise InputError(f"{path} has no rows", SHAPE)
    names = columns_of(records, path, columns)
    guessed = {field: name for field, name in names.items() if name != field}
    if guessed and guessed != columns:
        said = ", ".join(f"{field} = {name!r}" for field, name in guessed.items())
        on_note(f"{path}: read as {said}")
    by_asked: dict[object, tuple[str, Question]] = {}
    by_id: dict[str, tuple[str, Question]] = {}
    kept: list[tuple[str, Question]] = []
    repeated = []
    for record in records:
        row = _row(record, names, path.stem, separator)
        same_id = by_id.get(row.id)
        earlier = same_id if same_id and same_id[1].asked == row.asked else by_asked.get(row.asked)
        if earlier is not None:
            _check_agreement(row, record.place, earlier)
        if same_id is not None and same_id[1] == row:
            repeated.append(record.place)
            continue
        by_asked.setdefault(row.asked, (record.place, row))
        by_id.setdefault(row.id, (record.place, row))
        kept.append((record.place, row))
    if repeated:
        what = "rows repeat" if len(repeated) > 1 else "row repeats"
        on_note(f"{path}: {len(repeated)} {what} another and count once (first: {repeated[0]})")
    return kept


def _records(path: Path) -> list[Record]:
    raw = read_bytes(path)
    if raw.startswith(PARQUET) or path.suffix.casefold() == ".parquet":
        return parquet_records(raw, path)
    text = decode(raw, path)
    if path.suffix.casefold() in (".csv", ".tsv"):
        tabs = path.suffix.casefold() == ".tsv"
        return csv_records(text, path, delimiter="\t" if tabs else None)
    return json_records(text, path)


def _check_agreement(row: Question, place: str, earlier: tuple[str, Question]) -> None:
    """Raise InputError if the same question has other right answers elsewhere in the file."""
    there, other = earlier
    mine, theirs = (
        (each.answerable, {answer.strip().casefold() for answer in each.answers})
        for each in (row, other)
    )
    if mine != theirs:
        raise InputError(
            f"{place}: the same question has other right answers in {there}",
            "Keep one of the rows, or give one of them all the answers.",
        )


def _row(record: Record, names: Mapping[str, str], task: str, separator: str | None) -> Question:
    def cell(field: str) -> Cell:
        name = names.get(field, field)
        where = f"{record.place}: {name}"
        splits = separator if field in ("answers", "choices") else None
        return Cell(record.values.get(name), where, record.written, splits)

    asked = cell("question")
    if asked.is_empty:
        raise InputError(f"{record.place}: there is no question", SHAPE)
    if not isinstance(asked.value, str):
        raise InputError(f"{asked.where}: a question is a text", SHAPE)
    choices = cell("choices").choices()
    answers, none = cell("answers").answers()
    answerable = _answerable(cell("answerable"), names, is_none=none)
    by_label = plain(names.get("answers", "")) == "answerkey"
    row = Question(
        "",
        cell("task").text() or task,
        asked.value,
        tuple(dict.fromkeys(_named(answer, choices, by_label, record.place) for answer in answers)),
        cell("context").text() or None,
        tuple(text for _, text in choices),
        answerable,
    )
    found = cell("id").text()
    row = replace(row, id=_digest(row) if found is None else found)
    _check(row, record.place)
    return row


def _answerable(cell: Cell, names: Mapping[str, str], *, is_none: bool) -> bool:
    """Whether a row has an answer; is_none: whether its answers say that there is none."""
    if cell.is_empty:
        return not is_none
    if not isinstance(cell.value, bool):
        raise InputError(f"{cell.where}: this is neither true nor false", SHAPE)
    return not cell.value if plain(names["answerable"]) == IMPOSSIBLE else cell.value


def _named(answer: str, choices: list[tuple[str | None, str]], by_label: bool, place: str) -> str:
    """The choice that an answer names by its label (A is the first if they have none)."""
    labels = {label or chr(ord("A") + at): text for at, (label, text) in enumerate(choices)}
    is_choice = answer in labels.values()
    if answer not in labels or (is_choice and not by_label and choices[0][0] is None):
        return answer
    if is_choice and not by_label and labels[answer] != answer:
        raise InputError(
            f"{place}: the answer {answer!r} is a choice, and the label of another",
            "Write the right choice's text, and no labels.",
        )
    return labels[answer]


def _digest(row: Question) -> str:
    """An id that is the same on every machine, and however rows are sorted."""
    asked = json.dumps(row.asked).encode()
    return hashlib.sha256(asked).hexdigest()[:16]


def _check(row: Question, place: str) -> None:
    """Raise InputError for what has the right types and cannot be asked or graded."""
    if not row.id:
        raise InputError(f"{place}: the id is empty", _ID)
    if row.answerable and not row.answers:
        raise InputError(f"{place}: there are no answers, and the row counts as answerable", SHAPE)
    texts = (row.question, *row.answers, *row.choices)
    if not all(text.strip() for text in texts):
        raise InputError(f"{place}: the question, an answer or a choice is blank", SHAPE)
    for text in (row.id, row.task, row.context or "", *texts):
        if not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text):
            raise InputError(f"{place}: a text has half a surrogate pair", "Save it as UTF-8.")
    labels = {choice.strip().casefold() for choice in row.choices}
    golds = {answer.strip().casefold() for answer in row.answers}
    if row.choices and row.answerable and not labels & golds:
        number = any(x.isdecimal() for x in golds) and not any(x.isdecimal() for x in labels)
        raise InputError(
            f"{place}: no answer is one of the choices",
            "Write the choice itself or its letter: a number may count from 0 or from 1."
            if number
            else "Spell them alike.",
        )
