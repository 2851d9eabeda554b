"""Contributions with planted neurons, for tests of finding them."""

from __future__ import annotations

import numpy as np

from energy_guard.backends.base import ModelInfo
from energy_guard.neurons import Contributions, LabelledContributions, Neuron

INFO = ModelInfo("tiny", "00ff", backend="scripted")
SHAPE = (4, 50)
PLANTED = (Neuron(1, 7), Neuron(3, 49))


def planted(
    n: int = 120,
    *,
    strength: float = 1.5,
    everywhere: bool = False,
    unit: float = 0.01,
    rest: bool = True,
    per_question: int = 1,
    seed: int = 0,
) -> LabelledContributions:
    """Answers, half of them wrong, whose planted neurons contribute more when they are wrong.

    everywhere: the second of them does so in the whole of a wrong answer.
    """
    random = np.random.default_rng(seed)
    wrong = [bool(i // per_question % 2) for i in range(n)]
    found = []
    for is_wrong in wrong:
        exact, other = random.gamma(4, unit / 2, (2, *SHAPE))
        if is_wrong:
            for neuron in PLANTED:
                exact[neuron.layer, neuron.index] += strength * unit
            if everywhere:
                other[PLANTED[1].layer, PLANTED[1].index] += strength * unit
        each = other.astype(np.float32) if rest else None
        found.append(Contributions(exact.astype(np.float32), each))
    return LabelledContributions.of(found, wrong, [f"q{i // per_question}" for i in range(n)])
