"""Bars on standard error while questions are asked, with the time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from energy_guard.questions.answered import Answered
from energy_guard.questions.grade import Outcome
from energy_guard.questions.rows import Question


@contextmanager
def bars(what: str, rows: Sequence[Question]) -> Iterator[Callable[[Answered], None]]:
    """Show a line for everything, and one for each task; yield what moves them on."""
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[counts]}", markup=False),
        console=Console(stderr=True),
    ) as progress:
        names = [row.task for row in rows]
        everything = progress.add_task(what, total=len(rows), counts="")
        tasks = {
            name: progress.add_task(f"  {name}", total=names.count(name), counts="", start=False)
            for name in dict.fromkeys(names)
        }
        counts = {name: dict.fromkeys(get_args(Outcome), 0) for name in tasks}

        def advance(answered: Answered) -> None:
            of_task = counts[answered.task]
            of_task[answered.outcome] += 1
            said = ", ".join(f"{count} {outcome}" for outcome, count in of_task.items() if count)
            progress.start_task(tasks[answered.task])
            progress.update(tasks[answered.task], advance=1, counts=said)
            progress.update(everything, advance=1)

        yield advance
