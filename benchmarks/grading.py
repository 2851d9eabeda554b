"""How often the grader is wrong, against people's own judgement and against labels of a model.

`python -m benchmarks.grading --judged FILE` reads one JSON object a line with `set`, `system`,
`question`, `answers`, `answer` and `right` (what a person said), and prints for each set and
system how often the grader says the same, beside lexical containment. `python -m
benchmarks.grading DATA.jsonl…` does it with the answers of `grading.jsonl`, by kind and by model;
`benchmarks/hand_labelled.py` says who labelled them, and by which rules.
"""

from __future__ import annotations

import json
import string
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from benchmarks.hand_labelled import QUESTIONS, Graded, agreement, graded, read_labelled
from energy_guard.questions.grade import Outcome, grade
from energy_guard.questions.rows import read_rows

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
    """How the labelled answers are graded, and how far the labels can be trusted."""
    items = read_labelled()
    answers = graded(items, read_rows([QUESTIONS, *data]))
    console.print(error_table(answers))
    console.print(confusion_table(answers))
    passes = agreement(items)
    console.print(
        f"Two passes agree on {passes.same} of {passes.n} answers: {passes.same / passes.n:.1%} "
        f"({_wilson(passes.same, passes.n)}), Cohen's kappa {passes.kappa:.3f}."
    )
    for each in answers:
        if each.outcome != each.item.label:
            console.print(
                f"{each.item.row}, {each.item.model}: graded {each.outcome}, "
                f"{each.item.label} by hand"
            )


def error_table(answers: Sequence[Graded]) -> Table:
    """Return how often the grader decides otherwise than the annotator, by kind and by model.

    Answers that either of them left open are counted apart, and are not in the share.
    """
    groups: dict[str, list[Graded]] = defaultdict(list)
    for each in answers:
        groups[each.item.group].append(each)
    for each in answers:
        groups[each.item.model].append(each)
    table = _table(
        "answers", "n", "unsure by hand", "unsure to the grader", "decided", "false right",
        "false wrong", "otherwise", "share", "95 % (Wilson)",
    )  # fmt: skip
    for name, members in [*groups.items(), ("all", answers)]:
        decided = [each for each in members if each.decided]
        wrong = [each for each in decided if each.differs]
        counts = (
            len(members),
            sum(each.item.label == "unsure" for each in members),
            sum(each.outcome == "unsure" for each in members),
            len(decided),
            sum(each.outcome == "right" for each in wrong),
            sum(each.item.label == "right" for each in wrong),
            len(wrong),
        )
        table.add_row(name, *map(str, counts), *_share(len(wrong), len(decided)))
    return table


def confusion_table(answers: Sequence[Graded]) -> Table:
    """Return how many answers have each grade (lines) and each label by hand (columns)."""
    outcomes = get_args(Outcome)
    pairs = Counter((each.outcome, each.item.label) for each in answers)
    table = _table("graded", *(f"{label} by hand" for label in outcomes))
    for outcome in outcomes:
        table.add_row(outcome, *(str(pairs[outcome, label]) for label in outcomes))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _share(count: int, n: int) -> tuple[str, str]:
    return (f"{count / n:.1%}", _wilson(count, n)) if n else ("–", "–")


def _wilson(count: int, n: int) -> str:
    interval = binomtest(count, n).proportion_ci(method="wilson")
    return f"{interval.low:.1%} to {interval.high:.1%}"


if __name__ == "__main__":
    typer.run(main)
