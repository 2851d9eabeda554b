"""Values in a JSON answer, found by scanning its characters: nothing is written out again."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from energy_guard.errors import ConfigError
from energy_guard.locate.sentences import FENCE
from energy_guard.locate.span import Asked, Found, Locator, NotLocated
from energy_guard.text import Range


@dataclass(frozen=True, slots=True)
class Node:
    """One value: the object or list it is in, its key or index there, and where it stands.

    parent: index of its object or list, -1 for the outermost. start, end: in characters of the
    answer, quotes of a string excluded.
    """

    parent: int
    key: str
    start: int
    end: int
    leaf: bool


def by_field(path: str) -> Locator:
    """Make a locator of a JSON field: keys and list indices with dots between, a.0.b or a[0].b.

    Of an object or list all values in it are taken, without keys and quotes. Of a key given
    twice the last counts, as for JSON readers. A key with a dot or bracket cannot be named.
    Raises ConfigError for a path with an empty part.
    """
    keys = re.sub(r"\[(\d+)\]", r".\1", path).removeprefix(".").split(".")
    if not all(keys):
        raise ConfigError(f"json:{path} has an empty part", "Write json:FIELD or json:list.0.name.")

    @Locator
    def find(answer: str, asked: Asked) -> Found:
        nodes = scan(answer)
        if nodes is None:
            return NotLocated("the answer is not a JSON object or list")
        at = place(nodes, keys)
        if at is None:
            return NotLocated(f"the JSON answer has no field {path}")
        return values(nodes, at) or NotLocated(f"the field {path} is empty")

    return find


def scan(answer: str) -> list[Node] | None:
    """Return the values of a JSON object or list, the outermost first; None if it is neither.

    The answer is the JSON, or has it in its first fenced block of JSON.
    """
    for start, end in _candidates(answer):
        try:
            # Numbers stay text: Python refuses to turn thousands of digits into one.
            data = json.loads(answer[start:end], parse_int=str, parse_float=str)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict | list):
            return _nodes(answer, start, end)
    return None


def place(nodes: list[Node], keys: Sequence[str]) -> int | None:
    """Return the node at the end of these keys, the last one of a key given twice; None without."""
    at = 0
    for key in keys:
        inside = [i for i, node in enumerate(nodes) if node.parent == at and node.key == key]
        if not inside:
            return None
        at = inside[-1]
    return at


def values(nodes: list[Node], top: int = 0) -> list[Range]:
    """Return where the values at or under a node stand; empty strings are left out."""
    start, end = nodes[top].start, nodes[top].end
    inside = [node for node in nodes if node.leaf and start <= node.start and node.end <= end]
    return [(node.start, node.end) for node in inside if node.start < node.end]


_PART = re.compile(r'"(?P<string>(?:[^"\\]|\\.)*)"|(?P<mark>[][{}:,])|(?P<scalar>[^][{}:,"\s]+)')


_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")  # Python reads them, JSON has no such values


def _candidates(answer: str) -> list[Range]:
    """The whole answer, or the first fenced block that is marked as JSON or not at all."""
    found = [(0, len(answer))]
    for fence in FENCE.finditer(answer):
        if fence["info"].strip().casefold() in ("", "json", "jsonc", "json5"):
            found.append(fence.span("body"))
            break
    first, last = answer.find("{"), answer.rfind("}")
    return [*found, (first, last + 1)] if 0 <= first < last else found


@dataclass(slots=True)
class _Open:
    """An object or list that is being scanned; key: the one that waits for its value."""

    node: int
    is_object: bool
    count: int = 0
    key: str | None = None


def _nodes(answer: str, start: int, end: int) -> list[Node]:
    """Scan text that is known to be valid JSON; no recursion, as answers may be nested deeply."""
    nodes: list[Node] = []
    around: list[_Open] = []
    for part in _PART.finditer(answer, start, end):
        mark, is_string = part["mark"], part["string"] is not None
        if mark in ("]", "}"):
            closed = around.pop().node
            nodes[closed] = replace(nodes[closed], end=part.end())
        elif mark in (":", ","):
            continue
        elif is_string and around and around[-1].is_object and around[-1].key is None:
            around[-1].key = json.loads(part[0])
        else:
            parent, key = _place(around)
            span = part.span("string") if is_string else part.span()
            if mark:
                around.append(_Open(len(nodes), mark == "{"))
            nodes.append(Node(parent, key, *span, leaf=not mark and part[0] not in _NO_NUMBERS))
    return nodes


def _place(around: list[_Open]) -> tuple[int, str]:
    """The node that the next value belongs to, and its key or index there."""
    if not around:
        return -1, ""
    inner = around[-1]
    key = str(inner.count) if inner.key is None else inner.key
    inner.count += 1
    inner.key = None
    return inner.node, key
