"""What a search for H-neurons found, as a table."""

from __future__ import annotations

from typing import TypedDict, final

from energy_guard.report.results import Number, Numbers
from energy_guard.report.sheet import NONE, Sheet, number


@final
class ProbeFigures(TypedDict):
    """One probe on held-out answers, and each of the probes of as many random neurons.

    neurons: how many have a weight. h_neurons: how many a positive one. per_mille: H-neurons
    among a thousand of the model.
    """

    neurons: int
    h_neurons: int
    per_mille: float
    c: float
    accuracy: Number
    auroc: Number
    random_accuracy: list[Number]
    random_auroc: list[Number]


@final
class NeuronFigures(TypedDict):
    """The object of neurons.json. fitted, held: answers of each part. references: AUROC by name."""

    schema: int
    model: dict[str, str]
    outcomes: dict[str, int]
    fitted: int
    held: int
    probes: dict[str, ProbeFigures]
    references: Numbers


def neuron_sheet(figures: NeuronFigures) -> Sheet:
    """Return a line for every probe, its random neurons below it, and the references."""
    rows: list[tuple[str, ...]] = []
    for name, probe in figures["probes"].items():
        rows.append((f"probe, {name}", number(probe["accuracy"]), number(probe["auroc"])))
        draws = len(probe["random_accuracy"])
        random = (_range(probe["random_accuracy"]), _range(probe["random_auroc"]))
        rows.append((f"{probe['neurons']} random neurons, {draws} draws", *random))
    rows += [(name, NONE, number(auroc)) for name, auroc in figures["references"].items()]
    found = "; ".join(
        f"{name}: {probe['h_neurons']} H-neurons, {probe['per_mille']:.3f} ‰"
        for name, probe in figures["probes"].items()
    )
    return Sheet(
        "H-neurons",
        ("told by", "accuracy", "AUROC"),
        tuple(rows),
        f"{found}. {figures['held']} answers to questions that nothing was fitted to; "
        f"{figures['fitted']} others were. Random neurons: the mean, the lowest and the highest.",
    )


def _range(numbers: list[Number]) -> str:
    """The mean of several numbers with the lowest and the highest."""
    values = [each["value"] for each in numbers if each["value"] is not None]
    if not values:
        return NONE
    return f"{sum(values) / len(values):.3f} ({min(values):.3f}–{max(values):.3f})"
