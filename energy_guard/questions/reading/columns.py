"""Which column holds what: the names that people usually give, or those that they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from energy_guard.errors import InputError
from energy_guard.questions.reading.record import Record

IMPOSSIBLE: Final = "is_impossible"
"""A column that says the opposite of `answerable`."""

USUAL: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "id": ("id", "idx", "qid"),
        "task": ("task",),
        "question": ("question", "query", "prompt", "input"),
        "context": ("context", "passage", "document"),
        "answers": (
            "answers",
            "answer",
            "gold",
            "target",
            "label",
            "reference",
            "output",
            "best_answer",
            "answerkey",
        ),
        "choices": ("choices", "options"),
        "answerable": ("answerable", IMPOSSIBLE),
    }
)
"""The names of columns that are understood, by what stands in them."""


def columns_of(records: Sequence[Record], path: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Return the names of the columns of a file, by what stands in them.

    Args:
        records: All rows of the file.
        path: For messages.
        given: What the user says; the rest is guessed.

    Returns:
        A name for each key of `USUAL` that the file has.

    Raises:
        InputError: A column that was given is not there, or what is needed cannot be guessed; names
            the columns that are there.

    """
    names = list(dict.fromkeys(name for record in records for name in record.values))
    there = f"the columns are {', '.join(map(repr, names)) or 'none'}"
    chosen = dict(given)
    for field, name in given.items():
        if name not in names:
            raise InputError(f"{path} has no column {name!r}: {there}", _say(field))
    free = [name for name in names if name not in given.values()]
    for field, usual in USUAL.items():
        if field in chosen:
            continue
        found = [name for name in free if plain(name) in usual]
        exact = [name for name in found if name == field]
        if len(found) > 1 and not exact:
            what = f"several columns of {path} may hold the {field}: {', '.join(map(repr, found))}"
            raise InputError(what, _say(field, found[0]))
        if found:
            chosen[field] = (exact or found)[0]
    for field in ("question", "answers"):
        if field not in chosen and not (field == "answers" and "answerable" in chosen):
            where = records[0].place
            raise InputError(f"{where}: there is no column for the {field}; {there}", _say(field))
    return chosen


def parse_columns(given: Sequence[str]) -> dict[str, str]:
    """Read what a user says about columns.

    >>> parse_columns(["question=prompt", "answers=gold answer"])
    {'question': 'prompt', 'answers': 'gold answer'}

    Args:
        given: Texts such as "question=prompt".

    Raises:
        InputError: One of them says nothing of the kind, or something is said twice.

    """
    found: dict[str, str] = {}
    for text in given:
        field, _, name = text.partition("=")
        if field not in USUAL or not name:
            raise InputError(
                f"--column {text} says no column",
                f"Write NAME=COLUMN; the names are {', '.join(USUAL)}.",
            )
        if field in found:
            raise InputError(f"--column says twice where the {field} is", "Say it once.")
        found[field] = name
    return found


def plain(name: str) -> str:
    """Return a name as it is compared: the same in whatever case and with whatever between words.

    >>> plain("Best Answer")
    'best_answer'
    """
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def _say(field: str, example: str = "NAME") -> str:
    return f"Say which it is: --column {field}={example}"
