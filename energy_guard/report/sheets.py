"""The tables of an evaluation, from the object of results.json, for the terminal and for HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from energy_guard.report import decisions, rankings
from energy_guard.report.sheet import NONE, Results, Sheet


def sheets(results: Results) -> list[Sheet]:
    """Return every table that has something to show."""
    makers: tuple[Callable[[Results], Sheet], ...] = (
        _answers,
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
    rows.append(("all", *_counts(_everything(results)), str(sum(too_long.values()))))
    return Sheet(
        "What the model answered",
        (
            "task",
            "n",
            "right",
            "wrong",
            "refused",
            "declined",
            "not located",
            "nothing to check",
            "too long",
        ),
        tuple(rows),
        "refused: the model declined a question that has an answer; declined: one that has none. "
        "Both are counted apart, neither right nor wrong. too long: left out, the context is "
        "too small.",
    )


def _counts(task: Mapping[str, Any]) -> list[str]:
    outcomes = [task["outcomes"][key] for key in ("right", "wrong", "refused", "declined")]
    return [str(n) for n in (task["n"], *outcomes, task["not_located"], task["nothing_to_check"])]


def _everything(results: Results) -> dict[str, Any]:
    tasks = results["tasks"].values()
    keys = ("n", "not_located", "nothing_to_check")
    return {key: sum(task[key] for task in tasks) for key in keys} | {
        "outcomes": results["outcomes"]
    }
