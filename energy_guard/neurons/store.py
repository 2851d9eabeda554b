"""Contributions on disk, a file for each answer: read once, fitted as often as wanted.

In NumPy's own format without objects. A file says which model, which prompt and which answer it is
of, so that contributions are never put to another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from energy_guard.array_files import array_file, reading_arrays, write_arrays
from energy_guard.backends.base import Backend
from energy_guard.neurons.contributions import AnswerToRead, Contributions
from energy_guard.neurons.read import encoded_prompt, read_contributions


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
    keys = {
        name: _Key(model, _digest(encoded_prompt(backend, answer)), answer.answer, answer.exact)
        for name, answer in answers.items()
    }
    found = {name: _stored(folder, name, key) for name, key in keys.items()}
    ready = {name: each for name, each in found.items() if each is not None}
    for name in ready:
        on_read(name)
    missing = {name: answer for name, answer in answers.items() if name not in ready}
    reading = read_contributions(backend, list(missing.values())) if missing else iter(())
    for name, each in zip(missing, reading, strict=True):
        _store(folder, name, keys[name], each)
        ready[name] = each
        on_read(name)
    return {name: ready[name] for name in answers}


@dataclass(frozen=True)
class _Key:
    """What contributions are of. prompt: a digest of its token ids."""

    model: str
    prompt: str
    answer: tuple[int, ...]
    exact: tuple[int, ...]


def _digest(ids: list[int]) -> str:
    return hashlib.sha256(np.array(ids, np.int64).tobytes()).hexdigest()


def _store(folder: Path, name: str, key: _Key, each: Contributions) -> None:
    rest: dict[str, Any] = {} if each.rest is None else {"rest": each.rest}
    write_arrays(
        array_file(folder, name),
        exact=each.exact,
        answer=np.array(key.answer, np.int64),
        tokens=np.array(key.exact, np.int64),
        prompt=np.array(key.prompt),
        model=np.array(key.model),
        **rest,
    )


def _stored(folder: Path, name: str, key: _Key) -> Contributions | None:
    """What is stored of this very answer to this very prompt by this model."""
    path = array_file(folder, name)
    if not path.exists():
        return None
    hint = "Delete it; --resume reads them again."
    with reading_arrays(path, "contributions", hint) as file:
        found = _Key(
            file["model"].item(),
            file["prompt"].item(),
            tuple(file["answer"].tolist()),
            tuple(file["tokens"].tolist()),
        )
        if found != key:
            return None
        rest = np.asarray(file["rest"], np.float32) if "rest" in file else None
        return Contributions(np.asarray(file["exact"], np.float32), rest)
