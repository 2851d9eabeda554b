"""A table as it is shown in the terminal and in HTML, and how its numbers are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from energy_guard.report.results import Number, Results

NONE: Final = "–"


@dataclass(frozen=True)
class Sheet:
    """A table: the first column is text, the others are numbers. note: what to know, below it."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def number(measured: Number | None, signed: bool = False) -> str:
    """A number with its interval; a dash if there is none, a star if it is from too few."""
    if measured is None or measured["value"] is None:
        return NONE
    form = "+.3f" if signed else ".3f"
    ends = measured["value"], measured["low"], measured["high"]
    value, low, high = (format(end, form) for end in ends)
    star = "*" if measured.get("note", "").startswith("only") else ""
    dash = " to " if signed or "-" in low else "–"
    return f"{value}{star} ({low}{dash}{high})"


def best_singles(results: Results) -> tuple[str, ...]:
    """Names of the best single signals, of the exact answer first."""
    return tuple(results["means"].get("best_singles", ("span.nll:max", "answer.nll:max")))
