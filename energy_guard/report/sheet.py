"""A table as it is shown in the terminal and in HTML, and how its numbers are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Results = Mapping[str, Any]
"""The object of results.json."""

NONE: Final = "–"


@dataclass(frozen=True)
class Sheet:
    """A table: the first column is text, the others are numbers. note: what to know, below it."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def number(measured: Mapping[str, Any] | None, signed: bool = False) -> str:
    """A number with its interval; a dash where there is none, a star where it is from too few."""
    if measured is None or measured["value"] is None:
        return NONE
    form = "+.3f" if signed else ".3f"
    value, low, high = (format(measured[key], form) for key in ("value", "low", "high"))
    star = "*" if measured.get("note", "").startswith("only") else ""
    dash = " to " if signed or "-" in low else "–"
    return f"{value}{star} ({low}{dash}{high})"


def best_singles(results: Results) -> tuple[str, ...]:
    """Names of the best single signals, of the exact answer first."""
    return tuple(results["means"].get("best_singles", ("span.nll:max", "answer.nll:max")))
