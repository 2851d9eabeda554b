"""JSON as it is kept: objects one a line, a list of them, {"data": [...]}, or SQuAD's nesting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from energy_guard.errors import InputError
from energy_guard.json_text import KeyTwiceError, read_json
from energy_guard.questions.reading.record import SHAPE, Record


def json_records(text: str, path: Path) -> list[Record]:
    """Read the rows of a JSON file, whatever its name ends in.

    Raises:
        InputError: It is no JSON, has no objects, or an object has a key twice; names the place.

    """
    if text.lstrip().startswith("["):
        return _items(_loaded(text, str(path)), path)
    numbered = [
        (n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()
    ]  # not at U+2028
    if not numbered:
        return []
    number, line = numbered[0]
    try:
        whole = _loaded(line, f"{path}, line {number}")
    except _NotJsonError:
        whole = _loaded(text, str(path))  # one object, written over several lines
    else:
        if len(numbered) > 1 or not _has_data(whole):
            return list(_lines(numbered, path))
    return _items(whole["data"] if _has_data(whole) else [whole], path)


class _NotJsonError(InputError):
    """A text that is no JSON at all."""


def _has_data(whole: Any) -> bool:
    """Whether the rows are in an object's key data."""
    return isinstance(whole, dict) and isinstance(whole.get("data"), list)


def _lines(numbered: list[tuple[int, str]], path: Path) -> Iterator[Record]:
    for number, line in numbered:
        place = f"{path}, line {number}"
        yield Record(place, _object(_loaded(line, place), place))


def _items(items: list[Any], path: Path) -> list[Record]:
    """The rows of a list; an article with paragraphs in it holds many."""
    found: list[Record] = []
    for number, item in enumerate(items, 1):
        place = f"{path}, item {number}"
        values = _object(item, place)
        if isinstance(values.get("paragraphs"), list):
            found += _questions(values["paragraphs"], place)
        else:
            found.append(Record(place, values))
    return found


def _questions(paragraphs: list[Any], article: str) -> Iterator[Record]:
    """The questions of an article, each with its paragraph."""
    for number, paragraph in enumerate(paragraphs, 1):
        place = f"{article}, paragraph {number}"
        values = _object(paragraph, place)
        questions = values.get("qas")
        if not isinstance(questions, list):
            raise InputError(f"{place}: there is no list qas of questions", SHAPE)
        for at, question in enumerate(questions, 1):
            here = f"{place}, question {at}"
            own = _object(question, here)
            yield Record(here, {"context": values.get("context"), **own})


def _object(data: Any, place: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InputError(f"{place}: this is not an object", SHAPE)
    return data


def _loaded(text: str, place: str) -> Any:
    try:
        return read_json(text)
    except KeyTwiceError as error:
        raise InputError(f"{place}: {error}", "Keep one of them.") from error
    except (ValueError, RecursionError) as error:
        raise _NotJsonError(f"{place}: this is not JSON: {error}", SHAPE) from error
