"""What a search for H-neurons found, as a table."""

from __future__ import annotations

from typing import Any, Final, TypedDict, final

from energy_guard.neurons.find import DENSE, PROBE, TOGETHER
from energy_guard.report.results import Number, Numbers
from energy_guard.report.sheet import NONE, Sheet, number

OF_PROBE: Final = (DENSE, TOGETHER)
"""What stands beside a probe and depends on its labelling."""

_COLUMNS: Final = ("accuracy", "auroc")


@final
class ToldFigures(TypedDict):
    """How answers are told by what was fitted without their fold.

    accuracy, auroc: by name. above_random: by how much the probe's accuracy is above the mean one
    of random neurons. gain_together: by how much the AUROC of both tiers is above that of the
    better one, `better_tier`.
    """

    accuracy: Numbers
    auroc: Numbers
    random_accuracy: list[Number]
    random_auroc: list[Number]
    above_random: Number
    gain_together: Number
    better_tier: str


@final
class ProbeFigures(TypedDict):
    """One probe, which was fitted to all answers, and how well such probes tell others.

    neurons: how many have a weight. h_neurons: how many a positive one. per_mille: H-neurons
    among a thousand of the model. questions, tasks: what was left out; tasks is None if there is
    one alone, or too few answers to the others.
    """

    neurons: int
    h_neurons: int
    per_mille: float
    c: float
    questions: ToldFigures
    tasks: ToldFigures | None


@final
class NeuronFigures(TypedDict):
    """The object of neurons.json.

    outcomes: of all that was sampled. tasks: answers of each, as many right as wrong ones. answers:
    each with its log-odds by probes that have not seen its question.
    """

    schema: int
    model: dict[str, str]
    outcomes: dict[str, int]
    tasks: dict[str, int]
    probes: dict[str, ProbeFigures]
    answers: list[dict[str, Any]]


def neuron_sheet(figures: NeuronFigures) -> Sheet:
    """Return lines for every probe with what stands beside it, and for the scores from outside."""
    rows: list[tuple[str, ...]] = []
    for labelling, probe in figures["probes"].items():
        told = (probe["questions"], probe["tasks"])
        draws = len(probe["questions"]["random_accuracy"])
        rows += [
            _row(f"{PROBE}, {labelling}", PROBE, told),
            (f"as many random neurons, {draws} draws", *(c for t in told for c in _random(t))),
            *(_row(f"{name}, {labelling}", name, told) for name in OF_PROBE),
        ]
    for name in told[0]["auroc"]:
        if name not in (PROBE, *OF_PROBE):
            rows.append(_row(name, name, told))
    found = "; ".join(_found(name, probe) for name, probe in figures["probes"].items())
    tasks = ", ".join(f"{name} {n}" for name, n in figures["tasks"].items())
    return Sheet(
        "H-neurons",
        ("told by", "accuracy", "AUROC", "accuracy, other tasks", "AUROC, other tasks"),
        tuple(rows),
        f"{found}. Answers, half of each task wrong: {tasks}. Everything is fitted without the "
        "questions that it tells, and, for other tasks, without their task. Random neurons: the "
        "mean, the lowest and the highest.",
    )


def _row(title: str, name: str, told: tuple[ToldFigures | None, ...]) -> tuple[str, ...]:
    cells = [number(each[of].get(name)) if each else NONE for each in told for of in _COLUMNS]
    return (title, *cells)


def _random(told: ToldFigures | None) -> tuple[str, str]:
    return (
        (mean_and_range(told["random_accuracy"]), mean_and_range(told["random_auroc"]))
        if told
        else (NONE, NONE)
    )


def _found(labelling: str, probe: ProbeFigures) -> str:
    told = probe["questions"]
    return (
        f"{labelling}: {probe['neurons']} neurons, {probe['h_neurons']} of them H-neurons "
        f"({probe['per_mille']:.3f} ‰); accuracy {number(told['above_random'], signed=True)} above "
        f"random neurons; AUROC of both tiers {number(told['gain_together'], signed=True)} above "
        f"the {told['better_tier']}"
    )


def mean_and_range(numbers: list[Number]) -> str:
    """The mean of several numbers with the lowest and the highest."""
    values = [each["value"] for each in numbers if each["value"] is not None]
    if not values:
        return NONE
    return f"{sum(values) / len(values):.3f} ({min(values):.3f}–{max(values):.3f})"
