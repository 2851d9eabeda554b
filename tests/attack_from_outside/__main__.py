"""`make attack`: all attacks, or one kind or case of them, with a table of what held."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from .kinds import KINDS
from .runner import Tally, attack


def main(
    only: Annotated[str | None, typer.Option(help=f"One kind: {', '.join(KINDS)}.")] = None,
    seed: Annotated[int, typer.Option(help="Other attacks.")] = 0,
    case: Annotated[int | None, typer.Option(help="One case of that kind.")] = None,
) -> None:
    """Attack, print every failure with what reproduces it, and count; 1 if anything failed."""
    if only not in {None, *KINDS}:
        raise typer.BadParameter(f"one of: {', '.join(KINDS)}", param_hint="--only")
    if case is not None and only is None:
        raise typer.BadParameter("it goes with --only", param_hint="--case")
    numbers = None if case is None else [case]
    began, tallies = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        for name in [only] if only else KINDS:
            tallies.append(
                attack(name, seed=seed, folder=Path(folder), numbers=numbers, on_failure=print)
            )
            print(row(tallies[-1]), file=sys.stderr)
    print("| attacked | tried | held | of these refused | failed |\n|---|---|---|---|---|")
    for tally in tallies:
        print(row(tally))
    failed = sum(len(tally.failures) for tally in tallies)
    print(f"\nSeed {seed}, {time.monotonic() - began:.0f} s, {failed} failed.")
    raise typer.Exit(failed > 0)


def row(tally: Tally) -> str:
    """A line of the table."""
    counts = (tally.tried, tally.held, tally.refused, len(tally.failures))
    return " | ".join(["", KINDS[tally.name].title, *map(str, counts), ""]).strip()


if __name__ == "__main__":
    typer.run(main)
