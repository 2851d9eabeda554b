"""Hidden states at the exact answers of an evaluation: read once, stored, read again.

A file for each answer, in NumPy's own format without objects. It says which model and which
answer it is of, so that states are never put to another one.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from energy_guard.backends import Backend
from energy_guard.backends.base import HiddenStates, ShowsStates
from energy_guard.errors import InputError, LogError
from energy_guard.files import write_whole
from energy_guard.questions.answered import Answered
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import WORDINGS, Wordings, kind_of, request_of


def showing(backend: Backend) -> ShowsStates:
    """Return the backend as one that shows hidden states; InputError where it does not."""
    if isinstance(backend, ShowsStates):
        return backend
    raise InputError(
        f"--probe reads the model's hidden states, and {backend.info.backend} does not show them",
        "Load it with --backend transformers (GGUF files, too), or leave --probe out.",
    )


def measure_states(
    backend: ShowsStates,
    pairs: Sequence[tuple[Question, Answered]],
    *,
    folder: Path,
    wordings: Wordings = WORDINGS,
    on_measured: Callable[[Answered], None] = lambda _: None,
) -> None:
    """Store the states at the last token of every exact answer, where they are not stored yet.

    An answer without an exact answer has none. Each is on disk before the next is read. wordings:
    as in `collect`. Raises InputError where a question would be put otherwise than when it was
    answered.
    """
    model = backend.info.fingerprint
    for row, answered in pairs:
        token = answered.last_token
        stored = _stored(folder, answered, model)
        if token is not None and (stored is None or stored.token != token):
            request, trace = request_of(row, wordings[kind_of(row)]), answered.trace
            if backend.measure(request).tokens != trace.prompt_tokens:
                raise InputError(
                    f"the prompt of {row.id} is not the one that was answered",
                    "The wording has changed since: evaluate into another --out.",
                )
            states = backend.states(request, trace.ids.tolist(), token=token)
            _store(folder, answered, model, states)
        on_measured(answered)


def with_states(answers: Sequence[Answered], folder: Path, *, model: str) -> list[Answered]:
    """Put stored states to their answers; model: the fingerprint that answered.

    InputError for a file that cannot be read.
    """
    return [replace(a, stored_states=_stored(folder, a, model)) for a in answers]


def _file(folder: Path, answered: Answered) -> Path:
    return folder / f"{hashlib.sha256(answered.id.encode()).hexdigest()[:32]}.npz"


def _store(folder: Path, answered: Answered, model: str, states: HiddenStates) -> None:
    """Write a file, whole or not at all."""
    path = _file(folder, answered)
    raw = io.BytesIO()
    np.savez(
        raw,
        values=states.values,
        layers=np.array(states.layers, dtype=np.int64),
        token=np.array(states.token, dtype=np.int64),
        answer=answered.trace.ids,
        model=np.array(model),
    )
    try:
        folder.mkdir(exist_ok=True)
        write_whole(path, raw.getvalue())
    except OSError as error:
        raise LogError(
            f"cannot write to {path}: {error.strerror}", "Make room; --resume goes on from here."
        ) from error


def _stored(folder: Path, answered: Answered, model: str) -> HiddenStates | None:
    """What is stored of this very answer by this model."""
    path = _file(folder, answered)
    if not path.exists():
        return None
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if file["model"].item() != model:
                return None
            if not np.array_equal(file["answer"], answered.trace.ids):
                return None
            layers = tuple(file["layers"].tolist())
            values = np.asarray(file["values"], dtype=np.float32)
            return HiddenStates(int(file["token"]), layers, values)
    except (EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} holds no hidden states", "Delete it; --resume --probe reads them again."
        ) from error
