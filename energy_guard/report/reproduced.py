"""What repeating papers' experiments gave: shapes of the JSON, and tables."""

from __future__ import annotations

from typing import Final, TypedDict, final

from energy_guard.report.results import Number, Numbers, Points
from energy_guard.report.sheet import NONE, Sheet, number


@final
class ArithmeticCell(TypedDict):
    """Right results beside those that are off by so much.

    off_by: at least and at most. sums: how many, each with a right and a wrong result. auroc: by
    signal:pooling. roc: of means over the result's tokens, by signal:pooling.
    """

    digits: int
    off_by: list[int]
    sums: int
    auroc: Numbers
    roc: dict[str, Points]


@final
class ArithmeticFigures(TypedDict):
    """The object of arithmetic.json."""

    schema: int
    model: dict[str, str]
    cells: list[ArithmeticCell]


@final
class PooledSignal(TypedDict):
    """One signal with one pooling: its AUROC by task and their mean, localised and not.

    riskier: which side of the number speaks for a wrong answer. The AUROC of the other side is
    what is missing to 1.
    """

    signal: str
    pooling: str
    riskier: str
    exact: Numbers
    whole: Numbers
    exact_mean: Number
    whole_mean: Number
    gain: Number


@final
class SpilledEnergyFigures(TypedDict):
    """The object of spilled-energy.json. tasks: located answers and wrong ones among them."""

    schema: int
    model: dict[str, str]
    wording: str
    tasks: dict[str, list[int]]
    counted: list[str]
    signals: list[PooledSignal]


SHOWN: Final = (
    "spilled_energy:mean",
    "marginal_energy:mean",
    "logit_energy:mean",
    "nll:mean",
    "spilled_energy:max",
    "nll:max",
)


def arithmetic_sheet(figures: ArithmeticFigures) -> Sheet:
    """Return a line for each number of digits and size of error."""
    rows = [
        (
            f"{cell['digits']} digits, off by {cell['off_by'][0]} to {cell['off_by'][1]}",
            str(cell["sums"]),
            *(number(cell["auroc"].get(name)) for name in SHOWN),
        )
        for cell in figures["cells"]
    ]
    return Sheet(
        "Planted errors in sums: AUROC, wrong results above right ones",
        ("sum", "n", *SHOWN),
        tuple(rows),
        "n sums, each with its right result and a wrong one, replayed as the model's answer. High "
        "is riskier for every signal. The paper has no such figures for these models.",
    )


PAPER: Final = "73.3 localised, 49.3 not"
"""Mean AUROC in % of spilled energy over the paper's nine tasks, in its ablation of localising."""


def spilled_energy_sheets(figures: SpilledEnergyFigures) -> list[Sheet]:
    """Return the means with what localising gains, and the exact answer's AUROC task by task."""
    names = [f"{each['signal']}:{each['pooling']}" for each in figures["signals"]]
    counted = figures["counted"]
    means = [
        (
            name,
            each["riskier"],
            number(each["exact_mean"]),
            number(each["whole_mean"]),
            number(each["gain"], signed=True),
        )
        for name, each in zip(names, figures["signals"], strict=True)
    ]
    tasks = list(figures["tasks"])
    by_task = [
        (name, *(_short(each["exact"].get(task)) for task in tasks))
        for name, each in zip(names, figures["signals"], strict=True)
    ]
    sizes = ", ".join(f"{t}: {n}, {wrong} wrong" for t, (n, wrong) in figures["tasks"].items())
    return [
        Sheet(
            "Mean AUROC over tasks",
            ("signal:pooling", "riskier", "exact answer", "whole answer", "gain by localising"),
            tuple(means),
            f"Of {', '.join(counted) or 'no task'}, each counting the same; * one of them has "
            "fewer than 30 answers of a class, so that the interval is too narrow. The exact "
            "answer is located without the label. The other side of a signal has what is missing "
            "to 1; the paper scores its rows of max and of min by opposite sides. Its spilled "
            f"energy, mean AUROC in %: {PAPER}.",
        ),
        Sheet(
            "AUROC of the exact answer, task by task",
            ("signal:pooling", *tasks),
            tuple(by_task),
            f"Located answers: {sizes}. Intervals are in the JSON file.",
        ),
    ]


def _short(measured: Number | None) -> str:
    if measured is None or measured["value"] is None:
        return NONE
    return f"{measured['value']:.3f}{'*' if measured.get('note') else ''}"
