"""JSON that says each thing once: of two values of one key nobody can know which one is meant."""

from __future__ import annotations

import json
from typing import Any


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


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise KeyTwiceError(next(name for name in names if names.count(name) > 1))
    return found
