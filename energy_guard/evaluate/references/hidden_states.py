"""Hidden states at the exact answers of an evaluation: read once, stored, read again.

A file for each answer, in NumPy's own format without objects. It says which model and which
answer it is of, so that states are never put to another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from energy_guard.array_files import array_file, reading_arrays, write_arrays
from energy_guard.backends import Backend
from energy_guard.backends.base import HiddenStates, ShowsStates
from energy_guard.errors import InputError
from energy_guard.questions.answered import Answered
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import WORDINGS, Wordings, kind_of, request_of


def showing(backend: Backend) -> ShowsStates:
    """Return the backend as one that shows hidden states; InputError if it does not."""
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
    as in `collect`. Raises InputError if a question would be put otherwise than when it was
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


def _store(folder: Path, answered: Answered, model: str, states: HiddenStates) -> None:
    write_arrays(
        array_file(folder, answered.id),
        values=states.values,
        layers=np.array(states.layers, dtype=np.int64),
        token=np.array(states.token, dtype=np.int64),
        answer=answered.trace.ids,
        model=np.array(model),
    )


def _stored(folder: Path, answered: Answered, model: str) -> HiddenStates | None:
    """What is stored of this very answer by this model."""
    path = array_file(folder, answered.id)
    if not path.exists():
        return None
    hint = "Delete it; --resume --probe reads them again."
    with reading_arrays(path, "hidden states", hint) as file:
        if file["model"].item() != model:
            return None
        if not np.array_equal(file["answer"], answered.trace.ids):
            return None
        layers = tuple(file["layers"].tolist())
        values = np.asarray(file["values"], dtype=np.float32)
        return HiddenStates(int(file["token"]), layers, values)
