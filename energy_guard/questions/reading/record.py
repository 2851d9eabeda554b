"""What every kind of file is read into: values by the names of their columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from energy_guard.errors import InputError

SHAPE: Final = (
    "Write one JSON object a line, or a table with such columns: id, task, question, context or "
    "null, answers (a list), choices or null, answerable (if false, no answers are needed)."
)
"""What to do about a file that is not understood."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a file as it stands there.

    place: file and line, for messages. written: whether values are cells of text, so that a list
    is one that is written as JSON.
    """

    place: str
    values: Mapping[str, Any]
    written: bool = False


def read_bytes(path: Path) -> bytes:
    """Return what is in a file; InputError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "Check the path.") from error


def decode(raw: bytes, path: Path) -> str:
    """Return the text of a file without its byte order mark.

    Raises:
        InputError: It is packed, or no UTF-8; names the line.

    """
    for beginning, (what, hint) in _NO_TEXT.items():
        if raw.startswith(beginning):
            raise InputError(f"{path} is {what}", hint)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: this is not UTF-8", _SAVE) from error


_SAVE: Final = "Save it as UTF-8."
_NO_TEXT: Final = {
    b"\x1f\x8b": ("packed by gzip", "Unpack it first: gunzip FILE."),
    b"PK\x03\x04": ("a spreadsheet or a zip archive", "Unpack it, or export the sheet as CSV."),
    b"\xff\xfe": ("UTF-16, not UTF-8", _SAVE),
    b"\xfe\xff": ("UTF-16, not UTF-8", _SAVE),
}
