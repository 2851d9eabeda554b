"""Plots of an evaluation as SVG, one picture each, from the object of results.json."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from energy_guard.extras import needs_extra
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.report.h_neurons_sheet import FactorFigures
from energy_guard.report.reproduced import ArithmeticFigures, SpilledEnergyFigures
from energy_guard.report.results import GuardFigures, Number, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#767676"
_COLOURS: Final = (_BLUE, _ORANGE, _GREEN, "#cc79a7", _GREY)
_STYLE: Final[dict[Any, Any]] = {
    "text.parse_math": False,  # names are data
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
}
_SIZE: Final = (4.2, 3.4)
"""Inches."""

_DRAWN: Final = ("spilled_energy:mean", "marginal_energy:mean", "logit_energy:mean", "nll:mean")
"""Signals that planted errors are drawn for."""


def auroc_plot(results: Results) -> str:
    """Each task's AUROC with its interval: the best single signals and the fitted detectors."""
    tasks = {name: task for name, task in results["tasks"].items() if "auroc" in task}
    best = results["means"].get("best_singles", ["span.nll:max"])
    names = [*best, "fitted in domain", "fitted out of domain"]
    with _drawn((7.2, 1.2 + 0.42 * len(tasks))) as (axes, out):
        for at, (name, colour) in enumerate(zip(names, _COLOURS, strict=False)):
            found = [of["auroc"].get(name) for of in tasks.values()]
            _dots(axes, found, name, colour=colour, shift=0.16 * (at - 1.5))
        _aurocs_by_row(axes, list(tasks), "AUROC (95 % interval)")
    return out[0]


def roc_plot(curves: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """ROC curves by name."""
    with _drawn() as (axes, out):
        for (name, points), colour in zip(curves.items(), _COLOURS, strict=False):
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.3, label=name)
        axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
        axes.set(title="ROC", xlabel="right answers doubted", ylabel="wrong answers caught")
        axes.legend(loc="lower right")
    return out[0]


def risk_coverage_plot(guard: GuardFigures) -> str:
    """Risk against coverage, with its pointwise interval as a band."""
    with _drawn() as (axes, out):
        if guard["risk_coverage"]:
            coverage, risk, low, high = zip(*guard["risk_coverage"], strict=True)
            axes.fill_between(coverage, low, high, color=_BLUE, alpha=0.2, linewidth=0)
            axes.plot(coverage, risk, color=_BLUE, linewidth=1.3)
        axes.set(
            title="Risk and coverage",
            xlabel="coverage: share of questions answered",
            ylabel="risk: wrong among the answered",
            xlim=(0, 1),
            ylim=(0, 1),
        )
    return out[0]


def reliability_plot(guard: GuardFigures) -> str:
    """The share of wrong answers against P(wrong), in bins with as many answers each."""
    bins = [
        (each["p_wrong"], *ends)
        for each in guard["reliability"]
        if (ends := _with_ends(each["wrong"])) is not None
    ]
    with _drawn() as (axes, out):
        axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
        _marks(axes, bins, fmt="o", color=_BLUE)
        axes.set(
            title="Reliability",
            xlabel="P(wrong)",
            ylabel="share that is wrong",
            xlim=(0, 1),
            ylim=(0, 1),
        )
    return out[0]


def histogram_plot(guard: GuardFigures) -> str:
    """How P(wrong) is distributed over right and over wrong answers."""
    counts = guard["histogram"]
    width = 1 / len(counts["right"])
    places = [(at + 0.5) * width for at in range(len(counts["right"]))]
    with _drawn() as (axes, out):
        for outcome, of_it, colour in (
            ("right", counts["right"], _GREEN),
            ("wrong", counts["wrong"], _ORANGE),
        ):
            heights = [count / max(sum(of_it), 1) for count in of_it]
            label = f"{outcome} (n = {sum(of_it)})"
            axes.bar(places, heights, width, color=colour, alpha=0.5, label=label)
        axes.set(
            title="P(wrong) by outcome", xlabel="P(wrong)", ylabel="share of each", xlim=(0, 1)
        )
        axes.legend(loc="upper left")
    return out[0]


def neurons_plot(probe: NeuronProbe) -> str:
    """How many neurons of each layer have a weight, H-neurons above and the others below."""
    layers = range(probe.shape[0])
    with _drawn((7.2, 2.6)) as (axes, out):
        for sign, colour, label in ((1, _ORANGE, "H-neurons"), (-1, _BLUE, "negative weight")):
            of_sign = [n.layer for n in probe.neurons if n.weight * sign > 0]
            heights = [sign * of_sign.count(layer) for layer in layers]
            axes.bar(layers, heights, color=colour, label=f"{label} ({len(of_sign)})")
        axes.axhline(0, color=_GREY, linewidth=0.8)
        axes.set(title="Neurons by layer", xlabel="layer, from 0", ylabel="neurons")
        axes.legend(loc="upper left")
    return out[0]


def arithmetic_plot(figures: ArithmeticFigures) -> str:
    """ROC curves of planted errors: numbers of digits below each other, sizes of error beside."""
    cells = figures["cells"]
    digits = list(dict.fromkeys(cell["digits"] for cell in cells))
    across = len(cells) // max(len(digits), 1)
    with _figure((2.3 * across, 2.3 * len(digits) + 0.4)) as (figure, out):
        grid = figure.subplots(len(digits), across, sharex=True, sharey=True, squeeze=False)
        for cell, axes in zip(cells, grid.flat, strict=True):
            for name, colour in zip(_DRAWN, _COLOURS, strict=False):
                if name in cell["roc"]:
                    points = zip(*cell["roc"][name], strict=True)
                    axes.plot(*points, color=colour, linewidth=1.2, label=name)
            axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
            least, most = cell["off_by"]
            axes.set_title(f"{cell['digits']} digits, off by {least} to {most}", fontsize=8)
        figure.supxlabel("right results doubted", fontsize=9)
        figure.supylabel("wrong results caught", fontsize=9)
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return out[0]


def localising_plot(figures: SpilledEnergyFigures) -> str:
    """The mean AUROC of each signal and pooling, over the exact answer and the whole one."""
    signals = figures["signals"]
    with _drawn((7.2, 1.2 + 0.19 * len(signals))) as (axes, out):
        for means, colour, label, shift in (
            ([each["exact_mean"] for each in signals], _BLUE, "exact answer", -0.15),
            ([each["whole_mean"] for each in signals], _ORANGE, "whole answer", 0.15),
        ):
            _dots(axes, means, label, colour=colour, shift=shift)
        names = [f"{each['signal']}:{each['pooling']}" for each in signals]
        what = f"mean AUROC over {len(figures['counted'])} tasks (95 % interval)"
        _aurocs_by_row(axes, names, what)
        axes.tick_params(axis="y", labelsize=7)
    return out[0]


def scaling_plot(sweep: Sequence[FactorFigures]) -> str:
    """How often answers give in with each factor of the H-neurons, and how many facts are right."""
    kinds = list(sweep[0]["kinds"])
    lines = {kind: [each["kinds"][kind]["gave_in"] for each in sweep] for kind in kinds}
    lines["right answers to facts"] = [each["right"] for each in sweep]
    with _drawn((6.0, 3.8)) as (axes, out):
        for at, ((name, shares), colour) in enumerate(zip(lines.items(), _COLOURS, strict=False)):
            shift = 0.02 * (at - 2)  # or intervals would hide each other
            points = [
                (each["factor"] + shift, *ends)
                for each, share in zip(sweep, shares, strict=True)
                if (ends := _with_ends(share))
            ]
            style = "o:" if at == len(lines) - 1 else "o-"
            _marks(axes, points, fmt=style, color=colour, label=name)
        axes.set(xlabel="factor of the H-neurons", ylabel="share that gives in", ylim=(-0.02, 1.02))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return out[0]


def _dots(
    axes: Axes, found: Sequence[Number | None], label: str, *, colour: str, shift: float
) -> None:
    """A dot with its interval in each row that has a number; shift: of all of them, in rows."""
    points = [_with_ends(each) for each in found]
    known = [(row + shift, *ends) for row, ends in enumerate(points) if ends]
    _marks(axes, known, by_row=True, fmt="o", color=colour, label=label)


def _marks(
    axes: Axes,
    points: Sequence[tuple[float, float, float, float]],
    *,
    by_row: bool = False,
    **style: Any,
) -> None:
    """Each place's value with its interval: above the place, or beside it if that is a row."""
    places, values = [point[0] for point in points], [point[1] for point in points]
    ends = [[v - low for _, v, low, _ in points], [high - v for _, v, _, high in points]]
    line: dict[str, Any] = {"xerr": ends} if by_row else {"yerr": ends}
    x, y = (values, places) if by_row else (places, values)
    axes.errorbar(x, y, **line, markersize=3.5, linewidth=1, **style)


def _aurocs_by_row(axes: Axes, names: Sequence[str], what: str) -> None:
    """Name the rows, from above, and what the dots are; a line stands where nothing is told."""
    axes.axvline(0.5, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(what)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _with_ends(measured: Number | None) -> tuple[float, float, float] | None:
    """A number and the ends of its interval; None if there is no such number."""
    if measured is None or measured["value"] is None:
        return None
    return measured["value"], measured["low"], measured["high"]


@contextmanager
def _drawn(size: tuple[float, float] = _SIZE) -> Iterator[tuple[Axes, list[str]]]:
    """Yield axes to draw on; afterwards the list holds the SVG."""
    with _figure(size) as (figure, out):
        yield figure.add_subplot(), out


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[tuple[Figure, list[str]]]:
    """Yield a figure to draw in; afterwards the list holds the SVG."""
    with needs_extra("eval"):
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    out: list[str] = []
    with rc_context({**_STYLE, "svg.hashsalt": "energy-guard"}):
        figure = Figure(figsize=size, layout="constrained")
        yield figure, out
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        out.append(file.getvalue())
