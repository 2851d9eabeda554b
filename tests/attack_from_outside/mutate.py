"""Ways to spoil a file: values of a tree, its text, its bytes."""

from __future__ import annotations

import copy
import json
import math
import re
from random import Random
from typing import Any, Final

NO_VALUE: Final = ("NaN", "Infinity", "-Infinity", "null", "missing", "twice")
"""Changes that give no other value. What was withheld before is not to be shown because of them."""

_OTHER: Final[dict[str, Any]] = {
    "zero": 0,
    "minus one": -1,
    "huge": 10**400,
    "1e308": 1e308,
    "tiny": 5e-324,
    "true": True,
    "text": "x",
    "empty text": "",
    "number as text": "0.5",
    "list": [],
    "lists in lists": [[[[0]]]],
    "object": {"a": 1},
}
_RAW: Final = ("cut", "byte", "bytes", "no end", "deep", "not UTF-8", "BOM", "nul")

Place = tuple[str | int, ...]


def a_place(tree: Any, dice: Random) -> Place:
    """Where something stands in a tree: what is at its top is as likely as all that is below."""
    key = dice.choice([*tree] if isinstance(tree, dict) else range(len(tree)))
    below = tree[key]
    if isinstance(below, dict | list) and below and dice.random() < 0.8:
        return (key, *a_place(below, dice))
    return (key,)


def spoilt_json(tree: Any, dice: Random) -> tuple[bytes, str, str]:
    """One change to what JSON says: the file, the change, and in words with its place."""
    text = json.dumps(tree, ensure_ascii=False)
    if dice.random() < 0.2:
        how = dice.choice(_RAW)
        return spoilt_bytes(text.encode(), how, dice), how, how
    at = a_place(tree, dice)
    how = dice.choice([*NO_VALUE, *NO_VALUE, *_OTHER, "unknown key"])
    changed = changed_tree(tree, at, how, dice)
    if how == "twice" and isinstance(at[-1], int):
        how = "one more"
    text = json.dumps(changed, ensure_ascii=False).replace(f"{_TWICE}", "")
    return text.encode(), how, f"{how}: {'.'.join(map(str, at))}"


_TWICE: Final = "@twice"


def changed_tree(tree: Any, at: Place, how: str, dice: Random) -> Any:
    """A copy with one change; a key that is to stand there twice ends in a mark."""
    root = copy.deepcopy(tree)
    holder = root
    for key in at[:-1]:
        holder = holder[key]
    key = at[-1]
    if how == "missing":
        del holder[key]
    elif how == "twice" and isinstance(holder, dict):
        holder[f"{key}{_TWICE}"] = _another(holder[key], dice)
    elif how == "twice":
        holder.insert(int(key), holder[key])
    elif how == "unknown key" and isinstance(holder, dict):
        holder["unknown"] = 1
    elif how in ("NaN", "Infinity", "-Infinity"):
        holder[key] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[how]
    else:
        holder[key] = _OTHER.get(how)
    return root


def _another(value: Any, dice: Random) -> Any:
    """A value that could stand there as well, so that nothing but its being there is wrong."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return dice.choice([0, 1, 0.99, value + 1, value * 10, value / 2, -value])
    if isinstance(value, str):
        return dice.choice(["", value[::-1], "show", "accept"])
    return dice.choice([None, [], value])


def spoilt_bytes(raw: bytes, how: str, dice: Random) -> bytes:
    """One change to the bytes of a file."""
    out = bytearray(raw)
    at = dice.randrange(len(out))
    if how == "cut":
        del out[at:]
    elif how == "byte":
        out[at] ^= 1 << dice.randrange(8)
    elif how == "bytes":
        for _ in range(8):
            out[dice.randrange(len(out))] = dice.randrange(256)
    elif how == "no end":
        out += out[at:]
    elif how == "deep":
        out[at:at] = b"[" * 100_000
    elif how == "not UTF-8":
        out[at:at] = b"\xff\xfe\xed\xa0\x80"
    elif how == "BOM":
        out[:0] = b"\xef\xbb\xbf"
    else:
        out[at:at] = b"\0"
    return bytes(out)


def spoilt_text(text: str, pieces: list[str], seams: str, dice: Random) -> str:
    """Change a text: most often one piece of its language is put in where one may stand.

    Args:
        text: what is spoilt.
        pieces: parts of the language, good and bad.
        seams: a pattern; behind its matches a piece may stand.
        dice: where, and what.
    """
    if dice.random() < 0.6:
        at = dice.choice([0, *(found.end() for found in re.finditer(seams, text))])
        return text[:at] + dice.choice(pieces) + text[at:]
    for _ in range(dice.randint(1, 2)):
        words = re.findall(r"\w+|\s+|[^\w\s]", text)
        start = dice.randrange(len(words))
        part = words[start : start + dice.randint(1, 8)]
        end = start + len(part)
        match dice.choice(["lose", "double", "move", "replace", "repeat", "swap"]):
            case "lose":
                words[start:end] = []
            case "double":
                words[start:start] = part
            case "move":
                words[start:end] = []
                to = dice.randrange(len(words) + 1)
                words[to:to] = part
            case "replace":
                words[start] = dice.choice(pieces)
            case "repeat":
                words[start:start] = part * dice.choice([10, 300])
            case "swap":
                words[start] = dice.choice(words)
        text = "".join(words) or " "
    return text
