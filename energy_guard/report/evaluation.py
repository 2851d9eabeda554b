"""An evaluation in a terminal, from the object of results.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.console import (
    Console,
    ConsoleOptions,
    Group,
    JustifyMethod,
    RenderableType,
    RenderResult,
)
from rich.table import Table
from rich.text import Text

from energy_guard.report.printable import printable
from energy_guard.report.results import Results
from energy_guard.report.sheet import Sheet
from energy_guard.report.sheets import sheets


def evaluation_view(results: Results) -> RenderableType:
    """Every table, with what to know about it."""
    return Group(Text(headline(results), "bold"), *map(sheet_view, sheets(results)))


def sheet_view(sheet: Sheet) -> RenderableType:
    """One table, with what to know about it."""
    return _View(sheet)


def headline(results: Results) -> str:
    """The model and how many answers there are."""
    model = results["made_with"].get("model", {})
    tasks = results["tasks"]
    what = f"{results['n']} answers to {len(tasks)} task{'s' if len(tasks) != 1 else ''}"
    return printable(f"{model.get('name', 'a model')} ({model.get('backend', '?')}): {what}")


@dataclass(frozen=True)
class _View:
    """A table that goes on below itself, first column repeated, where it is too wide."""

    sheet: Sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(f"\n{self.sheet.title}", "bold cyan")
        if self.sheet.rows:
            for part in self._parts(options.max_width):
                yield self._table(part)
        if self.sheet.note:
            yield Text(printable(self.sheet.note), "dim")

    def _table(self, columns: Sequence[int]) -> Table:
        table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim")
        for at in columns:
            heading = Text(printable(self.sheet.headings[at]))
            side: JustifyMethod = "right" if at else "left"
            table.add_column(heading, justify=side, overflow="fold", no_wrap=not at)
        for row in self.sheet.rows:
            table.add_row(*(Text(printable(row[at])) for at in columns))
        return table

    def _parts(self, width: int) -> list[list[int]]:
        """Columns that fit side by side."""
        columns = list(zip(*self.sheet.rows, strict=True))
        widths = [max(cell_len(cell) for cell in column) + _GAP for column in columns]
        words = [max(map(len, heading.split())) + _GAP for heading in self.sheet.headings]
        widths = [max(pair) for pair in zip(widths, words, strict=True)]
        parts = [[0]]
        for at in range(1, len(widths)):
            used = sum(widths[column] for column in parts[-1])
            if len(parts[-1]) > 1 and used + widths[at] > width:
                parts.append([0])
            parts[-1].append(at)
        return parts


_GAP: Final = 2
