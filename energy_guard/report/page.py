"""An evaluation as one HTML page that needs no other file. Text from models is escaped."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

from energy_guard.extras import needs_extra
from energy_guard.report import plots
from energy_guard.report.evaluation import headline
from energy_guard.report.html import answer_html, legend_html
from energy_guard.report.results import GuardFigures, Points, Results
from energy_guard.report.sheets import sheets


def evaluation_page(results: Results) -> str:
    """Tables, plots, and heat maps of the best catches and the worst misses."""
    with needs_extra("eval"):
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    environment = Environment(
        loader=PackageLoader("energy_guard.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pooled, examples = results["pooled"], results["examples"]
    page: str = environment.get_template("page.html.j2").render(
        headline=headline(results),
        legend=Markup(legend_html()),  # noqa: S704
        results=results,
        sheets=sheets(results),
        auroc=_source(plots.auroc_plot(results)) if _any_auroc(results) else None,
        pooled=[] if "reason" in pooled else _guard(pooled["one_for_all"], pooled["roc"]),
        tasks=_tasks(results),
        examples=[
            (title, note, [(each, Markup(answer_html(each))) for each in found])  # noqa: S704
            for title, note, found in (
                ("Best catches", "Wrong answers with the highest risk.", examples["catches"]),
                ("Worst misses", "Wrong answers with the lowest risk.", examples["misses"]),
            )
        ],
    )
    return page


def _any_auroc(results: Results) -> bool:
    return any("auroc" in task for task in results["tasks"].values())


def _tasks(results: Results) -> list[tuple[str, list[tuple[str, str]]]]:
    """The plots of each task that has any."""
    found = [
        (name, _guard(task["guard"], task["roc"]))
        for name, task in results["tasks"].items()
        if "roc" in task and "reason" not in task["guard"]
    ]
    return found if len(results["tasks"]) > 1 else []


def _guard(guard: GuardFigures, curves: Mapping[str, Points]) -> list[tuple[str, str]]:
    """The four plots of a guard: what each shows, and its address."""
    return [
        ("ROC curves", _source(plots.roc_plot(curves))),
        ("Risk against coverage", _source(plots.risk_coverage_plot(guard))),
        ("Reliability", _source(plots.reliability_plot(guard))),
        ("P(wrong) of right and wrong answers", _source(plots.histogram_plot(guard))),
    ]


def _source(svg: str) -> str:
    """A picture as the address of an image: scripts do not run in one."""
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
