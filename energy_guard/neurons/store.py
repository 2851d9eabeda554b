"""Contributions on disk, a file for each answer: read once, fitted as often as wanted.

In NumPy's own format without objects. A file says which model and which answer it is of, so that
contributions are never put to another one.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from energy_guard.backends.base import Backend
from energy_guard.errors import InputError, LogError
from energy_guard.files import write_whole
from energy_guard.neurons.contributions import AnswerToRead, Contributions
from energy_guard.neurons.read import read_contributions


def stored_contributions(
    backend: Backend,
    answers: Mapping[str, AnswerToRead],
    *,
    folder: Path,
    on_read: Callable[[str], None] = lambda _: None,
) -> dict[str, Contributions]:
    """Return the contributions to every answer; those that are not stored yet are read first.

    Each is on disk before it counts as read, so what was killed goes on.

    Args:
        backend: The model.
        answers: By names of the caller's.
        folder: Where the files are; made if it is missing.
        on_read: Called with each name, of those that were stored first.

    Raises:
        InputError: A file there holds something else, or see `read_contributions`.
        EngineError: See `read_contributions`.
        LogError: A file cannot be written.

    """
    model = backend.info.fingerprint
    found = {name: _stored(folder, name, answer, model) for name, answer in answers.items()}
    ready = {name: each for name, each in found.items() if each is not None}
    for name in ready:
        on_read(name)
    missing = {name: answer for name, answer in answers.items() if name not in ready}
    reading = read_contributions(backend, list(missing.values())) if missing else iter(())
    for (name, answer), each in zip(missing.items(), reading, strict=True):
        _store(folder, name, answer, model, each)
        ready[name] = each
        on_read(name)
    return {name: ready[name] for name in answers}


def _file(folder: Path, name: str) -> Path:
    return folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.npz"


def _store(folder: Path, name: str, answer: AnswerToRead, model: str, each: Contributions) -> None:
    """Write a file, whole or not at all."""
    path, raw = _file(folder, name), io.BytesIO()
    rest: dict[str, Any] = {} if each.rest is None else {"rest": each.rest}
    np.savez(
        raw,
        exact=each.exact,
        answer=np.array(answer.answer, np.int64),
        tokens=np.array(answer.exact, np.int64),
        model=np.array(model),
        **rest,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, raw.getvalue())
    except OSError as error:
        raise LogError(
            f"cannot write to {path}: {error.strerror}", "Make room; --resume goes on from here."
        ) from error


def _stored(folder: Path, name: str, answer: AnswerToRead, model: str) -> Contributions | None:
    """What is stored of this very answer by this model."""
    path = _file(folder, name)
    if not path.exists():
        return None
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            same = (
                file["model"].item() == model
                and file["answer"].tolist() == list(answer.answer)
                and file["tokens"].tolist() == list(answer.exact)
            )
            if not same:
                return None
            rest = np.asarray(file["rest"], np.float32) if "rest" in file else None
            return Contributions(np.asarray(file["exact"], np.float32), rest)
    except (EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} holds no contributions", "Delete it; --resume reads them again."
        ) from error
