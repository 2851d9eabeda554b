"""The option `--grader`: who grades answers beside the rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from energy_guard.cli.options import EngineOptions
from energy_guard.cli.screen import tell
from energy_guard.errors import ConfigError
from energy_guard.questions.model_grader import ModelGrader, grading_with

GraderName = Annotated[
    str | None,
    typer.Option(
        "--grader",
        help="model:FILE has a local model grade what the rules do not call right; FILE as in "
        "--model.",
    ),
]

_MODEL: Final = "model:"


def check_grader(given: str | None) -> None:
    """Raise ConfigError for what is no grader, before any time is spent."""
    if given is not None and not (given.startswith(_MODEL) and given.removeprefix(_MODEL)):
        raise ConfigError(f"there is no grader {given!r}", "Write model:FILE.")


@contextmanager
def opened_grader(
    given: str | None, *, n_threads: int | None, asked: Path
) -> Iterator[ModelGrader | None]:
    """Load the grading model, and hold it.

    Args:
        given: The option; None if the rules grade alone.
        n_threads: As for the model that is asked.
        asked: JSONL file for what the grading model is asked.

    Yields:
        The grader; None if the rules grade alone.

    Raises:
        ConfigError: The option names no grader, or the model cannot say yes or no.
        ModelFileError: The model cannot be loaded.

    """
    check_grader(given)
    if given is None:
        yield None
        return
    engine = EngineOptions(given.removeprefix(_MODEL), n_threads=n_threads).open()
    with grading_with(engine, asked) as grader:
        if not grader.measured:
            tell(
                f"Nobody has measured how {engine.info.name} grades: only what it is nearly sure "
                "of counts, the rest is unsure."
            )
        yield grader
