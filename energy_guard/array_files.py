"""Arrays on disk, a file for each name: whole or not at all, and never unpickled."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from energy_guard.errors import InputError, LogError
from energy_guard.files import write_whole


def array_file(folder: Path, name: str) -> Path:
    """Return where the arrays of this name are: a name may be any text, and is no part of a path.

    >>> array_file(Path("states"), "../q1").parent.name
    'states'
    """
    return folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.npz"


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write arrays, or single values, by their names.

    Raises:
        LogError: The file cannot be written.

    """
    raw = io.BytesIO()
    np.savez(raw, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, raw.getvalue())
    except OSError as error:
        raise LogError(
            f"cannot write to {path}: {error.strerror}", "Make room; --resume goes on from here."
        ) from error


@contextmanager
def reading_arrays(path: Path, what: str, hint: str) -> Iterator[Mapping[str, Any]]:
    """Read arrays by their names.

    Args:
        path: The file.
        what: It should hold, for the error.
        hint: What to do if it does not.

    Raises:
        InputError: The file is damaged, or lacks what is read from it here.

    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            yield file
    except (EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} holds no {what}", hint) from error
