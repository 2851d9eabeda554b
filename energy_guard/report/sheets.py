"""The tables of an evaluation, from the object of results.json, for the terminal and for HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from energy_guard.report import decisions, rankings
from energy_guard.report.labels import labels_sheet
from energy_guard.report.results import Results, TaskFigures
from energy_guard.report.sheet import NONE, Sheet


def sheets(results: Results) -> list[Sheet]:
    """Return every table that has something to show."""
    makers: tuple[Callable[[Results], Sheet], ...] = (
        _answers,
        labels_sheet,
        rankings.detectors,
        rankings.gains,
        rankings.singles,
        rankings.gauge,
        rankings.baselines,
        rankings.probes,
        decisions.profile,
        decisions.guards,
        decisions.targets,
        decisions.told,
    )
    made = (maker(results) for maker in makers)
    return [_without_empty_columns(sheet) for sheet in made if sheet.rows or sheet.note]


def _without_empty_columns(sheet: Sheet) -> Sheet:
    kept = [at for at, cells in enumerate(zip(*sheet.rows, strict=True)) if set(cells) != {NONE}]
    if not sheet.rows:
        return sheet
    rows = tuple(tuple(row[at] for at in kept) for row in sheet.rows)
    return replace(sheet, headings=tuple(sheet.headings[at] for at in kept), rows=rows)


def _answers(results: Results) -> Sheet:
    too_long = results["too_long"]
    rows = [
        (name, *_counts(task), str(too_long.get(name, 0)))
        for name, task in results["tasks"].items()
    ]
    tasks = list(results["tasks"].values())
    everything = _counted(
        sum(task["n"] for task in tasks),
        results["outcomes"],
        not_located=sum(task["not_located"] for task in tasks),
        nothing_to_check=sum(task["nothing_to_check"] for task in tasks),
    )
    rows.append(("all", *everything, str(sum(too_long.values()))))
    return Sheet(
        "What the model answered",
        (
            "task",
            "n",
            "right",
            "wrong",
            "refused",
            "declined",
            "unsure",
            "not located",
            "nothing to check",
            "too long",
        ),
        tuple(rows),
        "refused: the model declined a question that has an answer; declined: one that has none. "
        "Both are counted apart, neither right nor wrong. unsure: left out and listed in "
        "unsure.jsonl, for a person. too long: left out, the context is "
        "too small.",
    )


def _counts(task: TaskFigures) -> list[str]:
    return _counted(
        task["n"],
        task["outcomes"],
        not_located=task["not_located"],
        nothing_to_check=task["nothing_to_check"],
    )


def _counted(
    n: int, outcomes: Mapping[str, int], *, not_located: int, nothing_to_check: int
) -> list[str]:
    of_each = [outcomes[key] for key in ("right", "wrong", "refused", "declined", "unsure")]
    return [str(count) for count in (n, *of_each, not_located, nothing_to_check)]
