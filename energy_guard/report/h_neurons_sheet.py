"""What repeating the experiments of 'H-Neurons' gave: shapes of the JSON, and tables."""

from __future__ import annotations

from typing import Any, Final, TypedDict, final

from energy_guard.neurons.find import PROBE
from energy_guard.report.neuron_sheet import ToldFigures, mean_and_range
from energy_guard.report.results import Number
from energy_guard.report.sheet import NONE, Sheet, number


@final
class MadeUp(TypedDict):
    """Answers to questions about what does not exist, none of which is right.

    called_wrong: the share whose log-odds are above 0. right_called_wrong: the same of right
    answers to real questions, by probes that have not seen them. auroc: of the first above the
    second.
    """

    called_wrong: Number
    right_called_wrong: Number
    auroc: Number


@final
class Detection(TypedDict):
    """One labelling: on questions that were left out, on tasks that were, on what is made up."""

    h_neurons: int
    per_mille: float
    in_domain: ToldFigures
    other_tasks: ToldFigures | None
    made_up: MadeUp


@final
class TemptationFigures(TypedDict):
    """One kind of temptation with one factor.

    gave_in: the share of the answers with a verdict. more: by how much it is above that of the
    model as it is, on the cases that have a verdict with both. unclear: answers without.
    """

    gave_in: Number
    more: Number
    unclear: int


@final
class FactorFigures(TypedDict):
    """Everything with one factor. right: the share of right answers to facts; more_right: above
    that of the model as it is.
    """

    factor: float
    kinds: dict[str, TemptationFigures]
    right: Number
    more_right: Number


@final
class HNeuronFigures(TypedDict):
    """The object of h-neurons.json. detection: by labelling."""

    schema: int
    made_with: dict[str, Any]
    detection: dict[str, Detection]
    sweep: list[FactorFigures]


PAPER_DETECTION: Final = (
    "70.1–83.6 % on TriviaQA against 56–68 % of random neurons, with 0.01–0.35 ‰ of all neurons"
)
"""The paper's accuracies over its models of 7 to 70 billion parameters."""

PAPER_SWEEP: Final = (
    "giving in falls with a factor below 1 and rises above it, not always step by step, and at a "
    "cost in helpfulness"
)


def h_neuron_sheets(figures: HNeuronFigures) -> list[Sheet]:
    """Return the table of detection, and that of scaling."""
    return [_detection_sheet(figures), _sweep_sheet(figures)]


def _detection_sheet(figures: HNeuronFigures) -> Sheet:
    rows = []
    for labelling, found in figures["detection"].items():
        for where, told in (
            ("questions left out", found["in_domain"]),
            ("tasks left out", found["other_tasks"]),
        ):
            if told is not None:
                random = mean_and_range(told["random_accuracy"])
                cells = (told["accuracy"][PROBE], told["auroc"][PROBE])
                rows.append((f"{labelling}, {where}", *map(number, cells), random))
        made_up = found["made_up"]
        cells = (made_up["called_wrong"], made_up["auroc"])
        rows.append((f"{labelling}, made up", *map(number, cells), NONE))
    [first, *_] = figures["detection"].values()
    n = first["made_up"]["called_wrong"]["n"]
    ratios = ", ".join(f"{k}: {d['per_mille']:.3f} ‰" for k, d in figures["detection"].items())
    wrongly = ", ".join(
        f"{k}: {number(d['made_up']['right_called_wrong'])}"
        for k, d in figures["detection"].items()
    )
    return Sheet(
        "H-neurons: detection",
        ("told by the probe", "accuracy", "AUROC", "accuracy of random neurons"),
        tuple(rows),
        f"H-neurons of all neurons: {ratios}. Made up: {n} answers about people, books and towns "
        "that do not exist, all of them wrong; the accuracy is the share that the probe calls "
        "wrong, and the AUROC is against right answers to real questions, of which it calls wrong "
        f"{wrongly}. The paper, in %: {PAPER_DETECTION}.",
    )


def _sweep_sheet(figures: HNeuronFigures) -> Sheet:
    sweep = figures["sweep"]
    kinds = list(sweep[0]["kinds"])
    rows = [
        (f"{each['factor']:g}", *cells)
        for each in sweep
        for cells in [(*(_cell(each, kind) for kind in kinds), number(each["right"]))]
    ]
    changes = [
        (f"{each['factor']:g} against 1", *cells)
        for each in sweep
        if each["factor"] != 1
        for cells in [
            (
                *(number(each["kinds"][kind]["more"], signed=True) for kind in kinds),
                number(each["more_right"], signed=True),
            )
        ]
    ]
    sizes = ", ".join(
        f"{kind} {sweep[0]['kinds'][kind]['gave_in']['n'] + sweep[0]['kinds'][kind]['unclear']}"
        for kind in kinds
    )
    return Sheet(
        "H-neurons scaled: share of answers that give in",
        ("factor", *kinds, "right answers to facts"),
        (*rows, *changes),
        f"Asked: {sizes}, facts {sweep[0]['right']['n']}; in brackets of a cell the interval, "
        "behind it answers without a verdict. Changes are in pairs. The paper: "
        f"{PAPER_SWEEP}.",
    )


def _cell(each: FactorFigures, kind: str) -> str:
    found = each["kinds"][kind]
    unclear = f", {found['unclear']} unclear" if found["unclear"] else ""
    return f"{number(found['gave_in'])}{unclear}"
