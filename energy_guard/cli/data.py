"""Options that say how files of labelled questions are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from energy_guard.cli.screen import tell
from energy_guard.questions.reading.columns import parse_columns
from energy_guard.questions.rows import Question, read_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """Where in a file what stands, as far as its names do not say so."""

    column: Annotated[
        list[str] | None,
        typer.Option(
            help="What a column of DATA holds, such as question=prompt; once for each that has "
            "an unusual name."
        ),
    ] = None
    separator: Annotated[
        str | None,
        typer.Option(help="What stands between several answers, or choices, in one cell of DATA."),
    ] = None

    def read(self, paths: Sequence[Path]) -> list[Question]:
        """Read files; what there is to know about them goes to standard error."""
        return read_rows(
            paths,
            columns=parse_columns(self.column or ()),
            separator=self.separator or None,
            on_note=lambda note: tell(f"note: {note}"),
        )
