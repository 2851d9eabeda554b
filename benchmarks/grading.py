"""How often the grader is wrong, against people's own judgement.

`python -m benchmarks.grading --judged FILE` reads one JSON object a line with `set`, `system`,
`question`, `answers`, `answer` and `right` (what a person said), and prints for each set and
system how often the grader says the same, beside lexical containment. `python -m
benchmarks.grading DATA.jsonl…` does it with `grading.jsonl`: answers of the embedded model with a
label given by hand, half of them graded right and half not. That file has row ids and no text of
the data.
"""

from __future__ import annotations

import json
import string
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from energy_guard.questions.grade import Outcome, grade, grade_row
from energy_guard.questions.rows import read_rows

LABELLED = Path(__file__).with_name("grading.jsonl")
_BLANKS = str.maketrans(dict.fromkeys(string.punctuation + "‘’“”–—´`", " "))


@dataclass(frozen=True)
class Judged:
    """One answer with what the grader, containment and a person say of it."""

    cell: str
    outcome: Outcome
    contained: bool
    right: bool

    @property
    def agrees(self) -> bool:
        """Whether the grader says what the person says; unsure is no agreement."""
        return self.outcome != "unsure" and (self.outcome == "right") == self.right


def main(
    data: Annotated[
        list[Path] | None, typer.Argument(help="JSONL files with the questions.")
    ] = None,
    judged: Annotated[
        Path | None, typer.Option(help="A JSONL file of answers that people have judged.")
    ] = None,
) -> None:
    """Print how often the grader says of an answer what people say."""
    console = Console()
    if judged is not None:
        console.print(_judged_table(judged))
    if data:
        _labelled(data, console)


def plain(text: str) -> str:
    """Return a text in lower case, without punctuation and articles.

    >>> plain("The Beatles' song!")
    'beatles song'
    """
    kept = text.lower().translate(_BLANKS).split()
    return " ".join(word for word in kept if word not in ("a", "an", "the"))


def _judged_table(path: Path) -> Table:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    start = time.process_time()
    outcomes = [grade(r["question"], r["answers"], r["answer"]).outcome for r in rows]
    taken = time.process_time() - start
    cells: dict[str, list[Judged]] = defaultdict(list)
    for row, outcome in zip(rows, outcomes, strict=True):
        said = plain(row["answer"])
        contained = any(plain(gold) in said for gold in row["answers"])
        cell = f"{row['set']} {row['system']}"
        cells[cell].append(Judged(cell, outcome, contained, row["right"]))
    seconds = taken / len(rows) * 10_000
    table = Table(
        box=None, padding=(0, 2, 0, 0), caption=f"10,000 answers: {seconds:.0f} s of one CPU"
    )
    for heading in (
        "answers", "n", "agrees", "95 % (Wilson)", "containment", "false right", "false wrong",
        "unsure",
    ):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "answers" else "right")
    for cell, items in [*cells.items(), ("all", [one for each in cells.values() for one in each])]:
        table.add_row(cell, *_figures(items))
    return table


def _figures(items: Sequence[Judged]) -> tuple[str, ...]:
    n = len(items)
    agreeing = sum(item.agrees for item in items)
    shares = (
        sum(item.contained == item.right for item in items),
        sum(item.outcome == "right" and not item.right for item in items),
        sum(item.outcome in ("wrong", "refused") and item.right for item in items),
        sum(item.outcome == "unsure" for item in items),
    )
    return str(n), f"{agreeing / n:.1%}", _wilson(agreeing, n), *(f"{s / n:.1%}" for s in shares)


def _labelled(data: Sequence[Path], console: Console) -> None:
    """How many of the answers labelled by hand are graded otherwise."""
    rows = {row.id: row for row in read_rows(data)}
    labelled = [json.loads(line) for line in LABELLED.read_text("utf-8").splitlines()]
    pairs = [(grade_row(rows[item["row"]], item["answer"]), item["label"]) for item in labelled]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("graded", "n", "otherwise by hand", "share", "95 % (Wilson)"):
        table.add_column(heading, justify="left" if heading == "graded" else "right")
    for name in ("right", "wrong", "refused", "unsure"):
        table.add_row(name, *_error([pair for pair in pairs if pair[0] == name]))
    table.add_row("all", *_error(pairs))
    console.print(table)
    for item, (graded, label) in zip(labelled, pairs, strict=True):
        if graded != label:
            console.print(f"{item['row']}: graded {graded}, {label} by hand")


def _error(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    if not pairs:
        return "0", "–", "–", "–"
    errors = sum(graded != label for graded, label in pairs)
    return str(len(pairs)), str(errors), f"{errors / len(pairs):.1%}", _wilson(errors, len(pairs))


def _wilson(count: int, n: int) -> str:
    interval = binomtest(count, n).proportion_ci(method="wilson")
    return f"{interval.low:.1%} to {interval.high:.1%}"


if __name__ == "__main__":
    typer.run(main)
