"""A probe for tests, of any model."""

from __future__ import annotations

from typing import Any

from energy_guard.backends.base import ModelInfo
from energy_guard.neurons import NeuronProbe
from energy_guard.neurons.probe import ProbeTraining, WeighedNeuron

WEIGHTS = {(0, 3): 2.0, (0, 77): -1.0, (1, 95): 4.0, (1, 0): 0.5}


def probe_of(info: ModelInfo, **changes: Any) -> NeuronProbe:
    """Three H-neurons and another one, in two layers of 192, or of 96 in transformers."""
    given: dict[str, Any] = {
        "model": info.fingerprint,
        "backend": info.backend,
        "shape": (2, 192 if info.backend == "llama-cpp" else 96),
        "neurons": tuple(
            WeighedNeuron(layer=layer, index=index, weight=weight)
            for (layer, index), weight in WEIGHTS.items()
        ),
        "intercept": -0.5,
        "training": ProbeTraining(
            labelling="1-vs-1", n=40, n_wrong=20, questions=40, c=1.0, accuracy=0.7
        ),
    }
    return NeuronProbe(**(given | changes))
