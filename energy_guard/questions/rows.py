"""Labelled questions from JSONL files, checked before any model time is spent."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError

from energy_guard.errors import InputError


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


_LABEL: Final = 4
"""Words of a choice that is a label."""


def read_rows(paths: Iterable[str | Path]) -> list[Question]:
    """Read every row of some JSONL files, in order; keys that are not known are passed over.

    `task` is the file's name where a row has none. Raises InputError, naming file and line, for
    what is not UTF-8, not JSON or not such a row, for an id that comes twice in all files, and
    for a file without rows.
    """
    rows: list[Question] = []
    seen: dict[str, str] = {}
    for path in map(Path, paths):
        before = len(rows)
        for number, line in enumerate(_lines(path), 1):
            if line.strip():
                place = f"{path}, line {number}"
                row = _row(line, path.stem, place)
                if row.id in seen:
                    raise InputError(f"{place}: the id {row.id!r} was used in {seen[row.id]}", _ID)
                seen[row.id] = place
                rows.append(row)
        if len(rows) == before:
            raise InputError(f"{path} has no rows", _SHAPE)
    return rows


_SHAPE = (
    "Write one JSON object a line: id, task, question, context or null, answers (a list), "
    "choices or null, answerable (where false, no answers are needed)."
)
_ID = "Give every row an id of its own: results are stored by it."


class _Stored(BaseModel):
    """A row as it stands in a file."""

    model_config = ConfigDict(extra="ignore")

    id: Annotated[StrictStr, Field(min_length=1)]
    question: StrictStr
    answers: list[StrictStr] | None = None
    task: StrictStr | None = None
    context: StrictStr | None = None
    choices: list[StrictStr] | None = None
    answerable: StrictBool = True


def _lines(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "Check the path.") from error
    try:
        return raw.decode("utf-8-sig").split("\n")  # not at U+2028 and the like
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: this is not UTF-8", "Save it as UTF-8.") from error


def _row(line: str, task: str, place: str) -> Question:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: this is not JSON: {error}", _SHAPE) from error
    if not isinstance(data, dict):
        raise InputError(f"{place}: this is not an object", _SHAPE)
    try:
        stored = _Stored.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{place}: {_problem(error)}", _SHAPE) from error
    row = Question(
        stored.id,
        stored.task or task,
        stored.question,
        tuple(stored.answers or ()),
        stored.context or None,
        tuple(stored.choices or ()),
        stored.answerable,
    )
    _check(row, place)
    return row


def _check(row: Question, place: str) -> None:
    """Raise InputError for what has the right types and cannot be asked or graded."""
    if row.answerable and not row.answers:
        raise InputError(f"{place}: there are no answers, and the row counts as answerable", _SHAPE)
    texts = (row.question, *row.answers, *row.choices)
    if not all(text.strip() for text in texts):
        raise InputError(f"{place}: the question, an answer or a choice is blank", _SHAPE)
    for text in (row.id, row.task, row.context or "", *texts):
        if not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text):
            raise InputError(f"{place}: a text has half a surrogate pair", "Save it as UTF-8.")
    labels = {choice.strip().casefold() for choice in row.choices}
    golds = {answer.strip().casefold() for answer in row.answers}
    if row.choices and row.answerable and not labels & golds:
        raise InputError(f"{place}: no answer is one of the choices", "Spell them alike.")


def _problem(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key}: {first['msg']}"
