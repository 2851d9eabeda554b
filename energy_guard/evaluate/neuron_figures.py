"""Figures of a search for H-neurons, as the plain objects that reports are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from energy_guard.backends.base import ModelInfo
from energy_guard.energy import Floats
from energy_guard.estimates.estimate import Measured, NotDefined
from energy_guard.estimates.ranking import auroc
from energy_guard.evaluate.figures import measured
from energy_guard.neurons.fit import FoundNeurons
from energy_guard.neurons.probe import Labelling
from energy_guard.questions.consistent import SampledQuestion
from energy_guard.report.neuron_sheet import NeuronFigures, ProbeFigures
from energy_guard.trace import SCHEMA

_REFERENCES = {"nll:max": "nll_max", "one-pass detector": "one_pass"}
"""Scores that every sample has without a look inside, by the names of their attributes."""


def neuron_figures(
    sampled: Sequence[SampledQuestion],
    used: Sequence[SampledQuestion],
    found: Mapping[Labelling, FoundNeurons],
    info: ModelInfo,
) -> NeuronFigures:
    """Return what a search found.

    Args:
        sampled: All questions that were sampled.
        used: Those whose contributions were given to the search, in that order.
        found: By labelling; all with the same held-out answers.
        info: Which model it was.

    """
    held = next(iter(found.values())).held
    wrong = np.array([used[at].outcome == "wrong" for at in held])
    return {
        "schema": SCHEMA,
        "model": {"name": info.name, "fingerprint": info.fingerprint, "backend": info.backend},
        "outcomes": dict(Counter(each.outcome for each in sampled).most_common()),
        "fitted": len(used) - len(held),
        "held": len(held),
        "probes": {name: _probe_figures(each) for name, each in found.items()},
        "references": {
            name: measured(_auroc([getattr(used[at], attribute) for at in held], wrong))
            for name, attribute in _REFERENCES.items()
        },
    }


def _probe_figures(found: FoundNeurons) -> ProbeFigures:
    probe = found.probe
    return {
        "neurons": len(probe.neurons),
        "h_neurons": len(probe.h_neurons),
        "per_mille": probe.per_mille,
        "c": probe.training.c,
        "accuracy": measured(found.judged.accuracy),
        "auroc": measured(found.judged.auroc),
        "random_accuracy": [measured(each.accuracy) for each in found.random],
        "random_auroc": [measured(each.auroc) for each in found.random],
    }


def _auroc(
    scores: Sequence[float | None], wrong: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> Measured:
    """Of answers that have a score; all of them must, or the rows would not be the same."""
    risk: Floats = np.array([np.nan if score is None else score for score in scores])
    without = int(np.isnan(risk).sum())
    if without:
        return NotDefined(f"{without} of these answers have no such score", len(risk))
    return auroc(risk, wrong)
