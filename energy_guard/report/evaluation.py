"""An evaluation in a terminal, from the object of results.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from energy_guard.report.sheets import Sheet, sheets
from energy_guard.report.terminal import printable


def evaluation_view(results: Mapping[str, Any]) -> RenderableType:
    """Every table, with what to know about it."""
    return Group(Text(headline(results), "bold"), *map(_sheet, sheets(results)))


def headline(results: Mapping[str, Any]) -> str:
    """The model and how many answers there are."""
    model = results["made_with"].get("model", {})
    tasks = results["tasks"]
    what = f"{results['n']} answers to {len(tasks)} task{'s' if len(tasks) != 1 else ''}"
    return printable(f"{model.get('name', 'a model')} ({model.get('backend', '?')}): {what}")


def _sheet(sheet: Sheet) -> RenderableType:
    table = Table(
        box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", title_justify="left"
    )
    for at, heading in enumerate(sheet.headings):
        table.add_column(printable(heading), justify="right" if at else "left")
    for row in sheet.rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    parts: list[RenderableType] = [Text(sheet.title, "bold cyan")]
    if sheet.rows:
        parts.append(table)
    if sheet.note:
        parts.append(Text(printable(sheet.note), "dim"))
    return Padding(Group(*parts), (1, 0, 0, 0))
