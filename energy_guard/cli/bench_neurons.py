"""What watching neurons costs: contributions are read while an answer is written."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from energy_guard.backends import Backend
from energy_guard.backends.speed import Comparison, Run
from energy_guard.cli.screen import tell
from energy_guard.errors import InputError
from energy_guard.guard import Guard
from energy_guard.neurons import NeuronProbe
from energy_guard.neurons.probe import ProbeTraining, WeighedNeuron
from energy_guard.neurons.read import neuron_shape
from energy_guard.request import Request


def watching_neurons(backend: Backend, request: Request, bare: Comparison) -> list[Comparison]:
    """Compare a guard that watches two neurons of every layer with bare generation.

    Args:
        backend: The engine.
        request: What is asked.
        bare: Whose first way is bare generation.

    Returns:
        The comparison; none, and a line on standard error, for a model without such neurons.

    """
    try:
        probe = _of_every_layer(backend)
    except InputError as error:
        tell(f"neurons are not watched: {error.message}")
        return []
    guards = {
        "Guard.ask": Guard(backend),
        "Guard.ask, every layer watched": Guard(backend, detector=probe),
    }
    short = replace(request, max_tokens=1)

    def asking(request: Request) -> dict[str, Run]:
        return {name: partial(_ask, guard, request) for name, guard in guards.items()}

    ready = {name: run for name, run in bare.ready.items() if name == bare.bare}
    ways = {bare.bare: bare.ways[bare.bare]} | asking(request)
    return [Comparison("neurons", ways, ready | (asking(short) if ready else {}))]


def _ask(guard: Guard, request: Request) -> int:
    return len(guard.ask(request).trace)


def _of_every_layer(backend: Backend) -> NeuronProbe:
    """A probe that says nothing, and costs as much as one that does."""
    layers, width = neuron_shape(backend)
    neurons = tuple(
        WeighedNeuron(layer=layer, index=index, weight=1.0)
        for layer in range(layers)
        for index in (0, width - 1)
    )
    return NeuronProbe(
        model=backend.info.fingerprint,
        backend=backend.info.backend,
        shape=(layers, width),
        neurons=neurons,
        intercept=0.0,
        training=ProbeTraining(
            labelling="1-vs-1", n=1, n_wrong=0, questions=1, c=1.0, accuracy=0.0
        ),
    )
