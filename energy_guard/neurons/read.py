"""Contributions of neurons, on either engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from energy_guard.backends.base import Backend
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.transformers import Transformers
from energy_guard.errors import InputError
from energy_guard.neurons.contributions import AnswerToRead, Contributions
from energy_guard.neurons.llama_cpp import contributions as in_llama_cpp
from energy_guard.neurons.llama_cpp.column_norms import column_norms, mlp_shape, refuse_adapter
from energy_guard.neurons.transformers import contributions as in_transformers
from energy_guard.neurons.transformers.gated import column_norms as norms_in_transformers
from energy_guard.neurons.transformers.gated import gated_mlps


def read_contributions(
    backend: Backend, answers: Sequence[AnswerToRead]
) -> Iterator[Contributions]:
    """Have a model read answers that exist, and yield what each neuron contributes to them.

    A pass of its own over every prompt and answer, in which nothing is written. The engine is held
    until the iterator is exhausted or closed.

    Args:
        backend: llama.cpp or transformers, with a dense gated-MLP decoder.
        answers: Answers with their exact parts; the results come in their order.

    Raises:
        InputError: The backend does not show neurons, the model has none of this kind, or an
            answer cannot be read.
        EngineError: The engine fails, or a contribution is not finite.

    """
    engine = readable(backend)
    if isinstance(engine, LlamaCpp):
        return in_llama_cpp.read_contributions(engine, answers)
    return in_transformers.read_contributions(engine, answers)


def encoded_prompt(backend: Backend, answer: AnswerToRead) -> list[int]:
    """Return the token ids of the prompt that `read_contributions` puts before an answer.

    Raises:
        InputError: The backend does not show neurons, or the answer cannot be read.

    """
    prompt, _ = readable(backend).encode(answer.request, answer.answer)
    return prompt


def neuron_shape(backend: Backend) -> tuple[int, int]:
    """Return how many layers a model has, and neurons each.

    Raises:
        InputError: The backend does not show neurons, or the model has none of this kind.

    """
    engine = readable(backend)
    if isinstance(engine, LlamaCpp):
        return mlp_shape(Path(engine.engine.model_path))
    return gated_mlps(engine.engine).shape


def check_readable(backend: Backend) -> None:
    """Find out whether neurons can be read, before any time is spent on what they are wanted for.

    Column norms are measured for it, which takes seconds.

    Raises:
        InputError: The backend does not show neurons, the model has none of this kind or an
            adapter, or its weights are of a type that cannot be unpacked.

    """
    engine = readable(backend)
    if isinstance(engine, LlamaCpp):
        refuse_adapter(engine.engine)
        column_norms(Path(engine.engine.model_path))
    else:
        norms_in_transformers(engine.engine, gated_mlps(engine.engine))


def readable(backend: Backend) -> LlamaCpp | Transformers:
    """Return a backend that shows the neurons of its model; InputError for any other."""
    if isinstance(backend, LlamaCpp | Transformers):
        return backend
    raise InputError(
        f"{backend.info.backend} does not show the neurons of its model",
        "Load the model with llama.cpp or transformers.",
    )
