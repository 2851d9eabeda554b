"""Figures of where a chat model's H-neurons come from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from energy_guard.backends.base import ModelInfo
from energy_guard.energy import Bools, Floats, Ints
from energy_guard.estimates.bootstrap import Sample, interval
from energy_guard.estimates.estimate import Measured, NotDefined
from energy_guard.evaluate.figures import measured
from energy_guard.evaluate.neuron_figures import accuracy_at_0, ranking_in_parts
from energy_guard.evaluate.paired_auroc import mean_auroc
from energy_guard.neurons.origin import Transferred, change_ranks
from energy_guard.neurons.probe import Labelling, NeuronProbe
from energy_guard.report.origin_sheet import OriginFigures, OriginOfProbe
from energy_guard.trace import SCHEMA


def origin_figures(
    told: Mapping[Labelling, Transferred],
    wrong: Bools,
    probes: Mapping[Labelling, NeuronProbe],
    change: Floats,
    *,
    chat: ModelInfo,
    base: ModelInfo,
) -> OriginFigures:
    """Return the figures.

    Args:
        told: Answers by probes that have not seen them, as both models read them.
        wrong: Which answers are wrong, shape (n,).
        probes: Fitted to all answers: whose H-neurons are looked for.
        change: How far each neuron's weights were turned, shape (layers, neurons).
        chat: The chat model.
        base: What it was made from.

    """
    ranks = change_ranks(change)
    return {
        "schema": SCHEMA,
        "model": _named(chat),
        "base": _named(base),
        "n": len(wrong),
        "probes": {name: _one(told[name], wrong, probes[name], ranks) for name in told},
        "changed": {"median": float(np.median(change)), "largest": float(change.max())},
    }


def _one(told: Transferred, wrong: Bools, probe: NeuronProbe, ranks: Floats) -> OriginOfProbe:
    ranking = ranking_in_parts({"chat": told.chat, "base": told.base}, told.folds, wrong)
    return {
        "chat": measured(ranking.measured("chat")),
        "base": measured(ranking.measured("base")),
        "more": measured(mean_auroc([ranking], "base", other="chat")),
        "chat_accuracy": measured(accuracy_at_0(told.chat, wrong)),
        "base_accuracy": measured(accuracy_at_0(told.base, wrong)),
        "h_neurons": len(probe.h_neurons),
        "rank": measured(_mean(np.array([ranks[n.layer, n.index] for n in probe.h_neurons]))),
    }


def _mean(values: Floats) -> Measured:
    if len(values) < 2:
        return NotDefined(f"there is no interval of {len(values)} H-neurons", len(values))

    def statistic(counts: Ints) -> Floats:
        return np.asarray(counts @ values / counts.sum(axis=1))

    return interval(Sample(statistic, len(values)))


def _named(info: ModelInfo) -> dict[str, str]:
    return {"name": info.name, "fingerprint": info.fingerprint, "backend": info.backend}
