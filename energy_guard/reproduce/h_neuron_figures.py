"""Figures of the experiments of 'H-Neurons', from what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

import numpy as np

from energy_guard.energy import Bools, Floats, Ints
from energy_guard.estimates.bootstrap import Sample, interval
from energy_guard.estimates.estimate import Measured, NotDefined, proportion
from energy_guard.estimates.ranking import auroc
from energy_guard.evaluate.figures import measured
from energy_guard.neurons.probe import Labelling
from energy_guard.questions.grade import grade_row
from energy_guard.report.h_neurons_sheet import (
    Detection,
    FactorFigures,
    HNeuronFigures,
    MadeUp,
    TemptationFigures,
)
from energy_guard.report.neuron_sheet import NeuronFigures
from energy_guard.reproduce.h_neurons import USUAL, Sweep, fact_answers
from energy_guard.reproduce.over_compliance import Case, Kind, Verdict, verdict_on
from energy_guard.trace import SCHEMA

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


def h_neuron_figures(
    searched: NeuronFigures,
    made_up: Mapping[Labelling, Sequence[float]],
    swept: Sweep,
    made_with: Mapping[str, Any],
) -> HNeuronFigures:
    """Return the figures of all experiments.

    Args:
        searched: The object of `neurons find`.
        made_up: By labelling the log-odds of answers that make something up.
        swept: What was said with every factor.
        made_with: What the answers depend on.

    """
    return {
        "schema": SCHEMA,
        "made_with": dict(made_with),
        "detection": {
            name: _detection(searched, name, np.array(made_up[name])) for name in made_up
        },
        "sweep": _sweep(swept),
    }


def _detection(searched: NeuronFigures, labelling: str, made_up: Floats) -> Detection:
    probe = searched["probes"][labelling]
    right = np.array(
        [each["log_odds"][labelling] for each in searched["answers"] if not each["wrong"]]
    )
    return {
        "h_neurons": probe["h_neurons"],
        "per_mille": probe["per_mille"],
        "in_domain": probe["questions"],
        "other_tasks": probe["tasks"],
        "made_up": _made_up(made_up, right),
    }


def _made_up(made_up: Floats, right: Floats) -> MadeUp:
    risk = np.concatenate([made_up, right])
    return {
        "called_wrong": measured(proportion(int((made_up > 0).sum()), len(made_up))),
        "right_called_wrong": measured(proportion(int((right > 0).sum()), len(right))),
        "auroc": measured(auroc(risk, np.arange(len(risk)) < len(made_up))),
    }


def _sweep(swept: Sweep) -> list[FactorFigures]:
    verdicts = {
        factor: {case.id: verdict_on(case, said[case.id]) for case in swept.cases}
        for factor, said in swept.said.items()
    }
    rights = {
        factor: np.array(
            [grade_row(row, text) == "right" for row, text in zip(swept.facts, texts, strict=True)]
        )
        for factor, texts in fact_answers(swept)
    }
    return [
        {
            "factor": factor,
            "kinds": {
                kind: _kind(cases, verdicts[factor], verdicts[USUAL])
                for kind in KINDS
                if (cases := [case for case in swept.cases if case.kind == kind])
            },
            "right": measured(proportion(int(right.sum()), len(right))),
            "more_right": measured(_more(right, rights[USUAL])),
        }
        for factor, right in rights.items()
    ]


def _kind(
    cases: Sequence[Case], verdicts: Mapping[str, Verdict], usual: Mapping[str, Verdict]
) -> TemptationFigures:
    found = [verdicts[case.id] for case in cases]
    decided = [verdict for verdict in found if verdict != "unclear"]
    both = [c.id for c in cases if "unclear" not in (verdicts[c.id], usual[c.id])]
    now, before = (np.array([of[name] == "gave in" for name in both]) for of in (verdicts, usual))
    return {
        "gave_in": measured(proportion(decided.count("gave in"), len(decided))),
        "more": measured(_more(now, before)),
        "unclear": len(found) - len(decided),
    }


def _more(now: Bools, before: Bools) -> Measured:
    """By how much a share is above that of the model as it is, in pairs."""
    if not len(now):
        return NotDefined("there is nothing to compare", 0)
    more = now.astype(np.float64) - before.astype(np.float64)

    def statistic(counts: Ints) -> Floats:
        return np.asarray(counts @ more / counts.sum(axis=1))

    return interval(Sample(statistic, len(more)))
