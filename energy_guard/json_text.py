"""JSON that says each thing once: of two values of one key nobody can know which one is meant."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


class KeyTwiceError(ValueError):
    """A key stands twice in one object.

    key: which one.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key!r} is given twice")
        self.key = key


def read_json(text: str) -> Any:
    """Return what JSON says.

    Args:
        text: One JSON value.

    Raises:
        KeyTwiceError: A key stands twice in one object. Python's own reader takes the last one.
        ValueError: It is no JSON, or a number in it has too many digits.
        RecursionError: It is nested too deeply.

    >>> read_json('{"abstain": 0.5}')
    {'abstain': 0.5}
    """
    return json.loads(text, object_pairs_hook=_once)


def read_portable_json(text: str) -> Any:
    """Return what JSON says, if every reader takes it for the same and it can be sent on as JSON.

    Args:
        text: One JSON value.

    Raises:
        KeyTwiceError: A key stands twice in one object.
        ValueError: It is no JSON, it has a number that is not finite (NaN, or one too large), or a
            text in it has half a surrogate pair, which is no UTF-8.
        RecursionError: It is nested too deeply.

    >>> read_portable_json('{"x": 1.5}')
    {'x': 1.5}
    """
    data = json.loads(
        text, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite
    )
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text in it has half a surrogate pair") from error
    return data


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no value of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number in it is too large")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise KeyTwiceError(next(name for name in names if names.count(name) > 1))
    return found
