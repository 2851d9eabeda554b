"""Bars on standard error while a model is at work, with the time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

from rich.progress import MofNCompleteColumn, TextColumn, TimeElapsedColumn

from energy_guard.cli.screen import progress, tell
from energy_guard.questions.answered import Answered
from energy_guard.questions.grade import Outcome
from energy_guard.questions.rows import Question
from energy_guard.report.printable import printable_line


@contextmanager
def _said_if_interrupted() -> Iterator[None]:
    """Say that nothing is lost, once the bars are gone."""
    try:
        yield
    except KeyboardInterrupt:
        tell("Interrupted. What was answered is kept: the same command goes on with --resume.")
        raise


@contextmanager
def bars(what: str, rows: Sequence[Question]) -> Iterator[Callable[[Answered], None]]:
    """Show a line for everything, and one for each task; yield what moves them on."""
    counted = TextColumn("{task.fields[counts]}", markup=False)
    with (
        _said_if_interrupted(),
        progress(MofNCompleteColumn(), TimeElapsedColumn(), last=counted) as shown,
    ):
        names = [row.task for row in rows]
        everything = shown.add_task(what, total=len(rows), counts="")
        tasks = {
            name: shown.add_task(
                f"  {printable_line(name)}", total=names.count(name), counts="", start=False
            )
            for name in dict.fromkeys(names)
        }
        counts = {name: dict.fromkeys(get_args(Outcome), 0) for name in tasks}

        def advance(answered: Answered) -> None:
            of_task = counts[answered.task]
            of_task[answered.outcome] += 1
            said = ", ".join(f"{count} {outcome}" for outcome, count in of_task.items() if count)
            shown.start_task(tasks[answered.task])
            shown.update(tasks[answered.task], advance=1, counts=said)
            shown.update(everything, advance=1)

        yield advance


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar on standard error with the time left; yield what moves it on."""
    counted = TextColumn("{task.fields[counts]}", markup=False)
    with progress(MofNCompleteColumn(), TimeElapsedColumn(), last=counted) as shown:
        task = shown.add_task(what, total=total, counts="")
        yield lambda counts: shown.update(task, advance=1, counts=counts)
