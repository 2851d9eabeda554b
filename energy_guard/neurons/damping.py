"""Damping of neurons, on either engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from energy_guard.backends.base import Backend, Session
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.neurons.contributions import Neuron, check_factor
from energy_guard.neurons.llama_cpp import damping as in_llama_cpp
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.neurons.read import readable
from energy_guard.neurons.transformers import damping as in_transformers


@contextmanager
def damped(
    backend: Backend, neurons: NeuronProbe | Iterable[Neuron], factor: float
) -> Iterator[None]:
    """Multiply what the down projections take from these neurons, until the block ends.

    Whatever runs the model meanwhile has them damped: generation, capture, scoring and reading of
    contributions, of any thread. Weights are not touched. What a profile promises was measured
    without. Blocks may stand inside each other: factors multiply. In transformers a key-value cache
    of your own that was filled before does not know of it: begin anew inside. In llama.cpp a second
    context, which takes as much memory as the first, stands in for the engine's own.

    Args:
        backend: llama.cpp or transformers; its model is left as it was, bit for bit, also after an
            exception.
        neurons: Which ones; each counts once, however often it is given. Of a probe, its H-neurons.
        factor: From 0, which switches them off, to 3; 1 changes nothing.

    Raises:
        InputError: The factor or a neuron is out of range, the probe has no H-neurons, or the model
            has no gated MLPs.
        MismatchError: The probe is of another model.
        EngineBusyError: The engine is in use (llama.cpp).
        EngineError: There is no memory for a second context (llama.cpp).

    """
    check_factor(factor)
    engine = readable(backend)
    if isinstance(neurons, NeuronProbe):
        neurons.check(engine.info)
        neurons = neurons.h_neurons
    chosen = sorted(set(neurons))
    if isinstance(engine, LlamaCpp):
        with in_llama_cpp.damped(engine, chosen, factor):
            yield
    else:
        with in_transformers.damped(engine.engine, chosen, factor):
            yield


@contextmanager
def switched_off(backend: Backend, session: Session, probe: NeuronProbe) -> Iterator[None]:
    """Switch the H-neurons of a probe off in a session until the block ends.

    What was read before is read anew inside, and what is read inside is not used afterwards.

    Args:
        backend: llama.cpp or transformers.
        session: Its session.
        probe: Of this model, with H-neurons.

    """
    engine = readable(backend)
    if isinstance(engine, LlamaCpp):
        with in_llama_cpp.damped_while_held(engine.engine, probe.h_neurons, 0):
            yield
        return
    with in_transformers.damped(engine.engine, probe.h_neurons, 0):
        session.rewind([])
        try:
            yield
        finally:
            session.rewind([])
