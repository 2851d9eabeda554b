"""Scaling neurons of a model that llama.cpp runs for a while, without touching its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.neurons.contributions import Neuron, check_neurons
from energy_guard.neurons.llama_cpp.column_norms import mlp_shape, refuse_adapter
from energy_guard.neurons.llama_cpp.nodes import Factors
from energy_guard.neurons.llama_cpp.stand_in import scaled, scaled_while_held

if TYPE_CHECKING:
    from llama_cpp import Llama


@contextmanager
def damped(backend: LlamaCpp, neurons: Sequence[Neuron], factor: float) -> Iterator[None]:
    """Multiply what enters the down projections; see `energy_guard.neurons.damped`.

    Raises:
        InputError: A neuron is out of range, the model has no gated MLPs, or it has an adapter.
        EngineBusyError: The engine stays in use.
        EngineError: The engine is closed, or has no memory for a second context.

    """
    factors = _factors(backend.engine, neurons, factor)
    with nullcontext() if factor == 1 else scaled(backend.engine, factors):
        yield


@contextmanager
def damped_while_held(llm: Llama, neurons: Sequence[Neuron], factor: float) -> Iterator[None]:
    """Do as `damped` for a Llama that is held by whoever calls this."""
    with scaled_while_held(llm, _factors(llm, neurons, factor)):
        yield


def _factors(llm: Llama, neurons: Sequence[Neuron], factor: float) -> Factors:
    refuse_adapter(llm)
    shape = mlp_shape(Path(llm.model_path))
    check_neurons(neurons, shape)
    factors = {neuron.layer: np.ones(shape[1], np.float32) for neuron in neurons}
    for neuron in neurons:
        factors[neuron.layer][neuron.index] = factor
    return factors
