"""How often the grader is wrong: `python -m benchmarks.grading DATA.jsonl…`.

`grading.jsonl` has answers of the embedded model with a label given by hand, half of them graded
right and half not, so both kinds of error are seen. It has row ids and no text of the data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from energy_guard.questions.grade import grade_row
from energy_guard.questions.rows import read_rows

LABELLED = Path(__file__).with_name("grading.jsonl")


def main(
    data: Annotated[list[Path], typer.Argument(help="JSONL files with the questions.")],
) -> None:
    """Print how many of the labelled answers were graded otherwise than by hand."""
    rows = {row.id: row for row in read_rows(data)}
    labelled = [json.loads(line) for line in LABELLED.read_text("utf-8").splitlines()]
    pairs = [(grade_row(rows[item["row"]], item["answer"]), item["label"]) for item in labelled]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("graded", "n", "otherwise by hand", "share", "95 % (Wilson)"):
        table.add_column(heading, justify="left" if heading == "graded" else "right")
    for name, kept in (
        ("right", [pair for pair in pairs if pair[0] == "right"]),
        ("wrong", [pair for pair in pairs if pair[0] == "wrong"]),
        ("refused", [pair for pair in pairs if pair[0] == "refused"]),
        ("all", pairs),
    ):
        table.add_row(name, *_error(kept))
    console = Console()
    console.print(table)
    for item, (graded, label) in zip(labelled, pairs, strict=True):
        if graded != label:
            console.print(f"{item['row']}: graded {graded}, {label} by hand")


def _error(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    if not pairs:
        return "0", "–", "–", "–"
    errors = sum(graded != label for graded, label in pairs)
    interval = binomtest(errors, len(pairs)).proportion_ci(method="wilson")
    span = f"{interval.low:.1%} to {interval.high:.1%}"
    return str(len(pairs)), str(errors), f"{errors / len(pairs):.1%}", span


if __name__ == "__main__":
    typer.run(main)
