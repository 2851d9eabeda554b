"""Figures of a search for H-neurons, as the plain objects that reports are made from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import numpy as np

from energy_guard.backends.base import ModelInfo
from energy_guard.energy import Bools, Floats, Ints
from energy_guard.errors import InputError
from energy_guard.estimates.bootstrap import Sample, interval
from energy_guard.estimates.estimate import Measured, NotDefined, proportion
from energy_guard.evaluate.figures import measured
from energy_guard.evaluate.folds import CrossFitted
from energy_guard.evaluate.paired_auroc import Aurocs, aurocs, mean_auroc
from energy_guard.neurons.find import PROBE, TOGETHER, CrossTold, FoundNeurons
from energy_guard.neurons.probe import Labelling
from energy_guard.questions.consistent import SampledQuestion
from energy_guard.report.neuron_sheet import NeuronFigures, ProbeFigures, ToldFigures
from energy_guard.report.results import Number
from energy_guard.trace import SCHEMA

OTHER_MODELS: Final = "one-pass detector"
"""The detector from other models, which needs no look inside."""


def outside_scores(used: Sequence[SampledQuestion]) -> dict[str, Floats]:
    """Return what every kept sample has without a look inside, by name, each of shape (n,)."""
    scores = {"nll:max": [u.nll_max for u in used], OTHER_MODELS: [u.one_pass for u in used]}
    return {
        name: np.array([np.nan if score is None else score for score in of])
        for name, of in scores.items()
    }


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
        found: By labelling, each of all of them, with `outside_scores`.
        info: Which model it was.

    """
    wrong = np.array([each.outcome == "wrong" for each in used])
    return {
        "schema": SCHEMA,
        "model": {"name": info.name, "fingerprint": info.fingerprint, "backend": info.backend},
        "outcomes": dict(Counter(each.outcome for each in sampled).most_common()),
        "tasks": dict(Counter(each.task for each in used)),
        "probes": {name: _probe_figures(each, wrong) for name, each in found.items()},
        "answers": [
            {
                "id": each.id,
                "wrong": bool(wrong[at]),
                "log_odds": {
                    name: float(of.by_question.risks[PROBE][at]) for name, of in found.items()
                },
            }
            for at, each in enumerate(used)
        ],
    }


def read_neuron_figures(path: Path) -> NeuronFigures:
    """Read what a search found; InputError if the file is missing or something else."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}", _FIND) from error
    if not isinstance(found, dict) or not set(NeuronFigures.__annotations__) <= set(found):
        raise InputError(f"{path} is not what `neurons find` writes", _FIND)
    return cast(NeuronFigures, found)


_FIND: Final = "Make it: energy-guard neurons find --model M --out DIR."


def _probe_figures(found: FoundNeurons, wrong: Bools) -> ProbeFigures:
    probe = found.probe
    return {
        "neurons": len(probe.neurons),
        "h_neurons": len(probe.h_neurons),
        "per_mille": probe.per_mille,
        "c": probe.training.c,
        "questions": _told_figures(found.by_question, wrong),
        "tasks": None if found.by_task is None else _told_figures(found.by_task, wrong),
    }


def _told_figures(told: CrossTold, wrong: Bools) -> ToldFigures:
    ranking = ranking_in_parts(told.risks, told.folds, wrong)
    names = [str(number) for number in range(len(told.random))]
    of_random = ranking_in_parts(dict(zip(names, told.random, strict=True)), told.folds, wrong)
    rivals = [name for name in (PROBE, OTHER_MODELS) if name in ranking.values]
    better = max(rivals, key=lambda name: ranking.values[name])
    return {
        "accuracy": {
            name: measured(accuracy_at_0(risk, wrong)) for name, risk in told.risks.items()
        },
        "auroc": {name: measured(ranking.measured(name)) for name in told.risks},
        "random_accuracy": [measured(accuracy_at_0(risk, wrong)) for risk in told.random],
        "random_auroc": [measured(of_random.measured(name)) for name in names],
        "above_random": measured(_above(told.risks[PROBE], told.random, wrong)),
        "gain_together": _gain(ranking, better),
        "better_tier": better,
    }


def ranking_in_parts(risks: Mapping[str, Floats], folds: Ints, wrong: Bools) -> Aurocs:
    """Rank answers within their fold: between folds a risk is of another fit."""
    return aurocs({name: CrossFitted(r[None], folds[None]) for name, r in risks.items()}, wrong)


def _gain(ranking: Aurocs, better: str) -> Number:
    return measured(mean_auroc([ranking], TOGETHER, other=better))


def accuracy_at_0(risk: Floats, wrong: Bools) -> Measured:
    """The share of answers on the right side of 0."""
    gaps = int(np.isnan(risk).sum())
    if gaps:
        return NotDefined(f"{gaps} of these answers have no such score", len(risk))
    return proportion(int(((risk > 0) == wrong).sum()), len(wrong))


def _above(risk: Floats, random: Sequence[Floats], wrong: Bools) -> Measured:
    """By how much a probe's accuracy is above the mean one of random neurons, on the same rows."""
    hits = [((each > 0) == wrong).astype(np.float64) for each in (risk, *random)]
    more = hits[0] - np.mean(hits[1:], axis=0)

    def statistic(counts: Ints) -> Floats:
        return np.asarray(counts @ more / counts.sum(axis=1))

    return interval(Sample(statistic, len(wrong), wrong))
