"""Watching a probe's neurons while a model writes, on either engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from energy_guard.backends.base import Backend, Session
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.neurons.llama_cpp.watch import watching_neurons
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.neurons.read import readable
from energy_guard.neurons.transformers.watch import HookObserver


@contextmanager
def watched(backend: Backend, session: Session, probe: NeuronProbe) -> Iterator[Session]:
    """Yield a session in whose traces the log-odds of each token are, by a probe's neurons.

    They are an extra array under the probe's name, see `NeuronProbe.with_log_odds`: NaN for a token
    that was not evaluated, such as an end token. Answers that are written and answers that are
    read again token by token have the same ones.

    Args:
        backend: llama.cpp or transformers.
        session: One of its sessions.
        probe: Of this model.

    Raises:
        MismatchError: The probe is of another model.
        InputError: The backend does not show neurons.
        EngineError: There is no memory for a second context (llama.cpp).

    """
    engine = readable(backend)
    probe.check(engine.info)
    observable: Any = session
    if isinstance(engine, LlamaCpp):
        with watching_neurons(engine.engine, probe) as watch:
            yield replace(observable, observer=watch)
    else:
        yield replace(observable, observer=HookObserver(engine.engine, probe))
