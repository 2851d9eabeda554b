"""The `energy-guard` program: its commands, and how errors become exit statuses.

Exit status: 0 shown, 3 abstained, 2 bad usage or input, 1 failure. A closed pipe is quiet.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from energy_guard.cli.ask import ask
from energy_guard.cli.bench import bench
from energy_guard.cli.calibrate import calibrate
from energy_guard.cli.chat import chat
from energy_guard.cli.demo import demo
from energy_guard.cli.doctor import doctor
from energy_guard.cli.evaluate import evaluate
from energy_guard.cli.flowing import FlowingCommand
from energy_guard.cli.label import label
from energy_guard.cli.neurons import neurons
from energy_guard.cli.options import BAD_INPUT
from energy_guard.cli.reproduce import reproduce
from energy_guard.cli.score import score
from energy_guard.cli.screen import filter_errors, open_missing_streams, say, tell
from energy_guard.cli.serve import serve
from energy_guard.errors import EnergyGuardError, InputError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Guard a local language model: read its logits while it writes, and say when to doubt it.",
)
app.command(cls=FlowingCommand)(demo)
app.command(cls=FlowingCommand)(ask)
app.command(cls=FlowingCommand)(chat)
app.command(cls=FlowingCommand)(score)
app.command(cls=FlowingCommand)(serve)
app.command(cls=FlowingCommand)(calibrate)
app.command("eval", cls=FlowingCommand)(evaluate)
app.command(cls=FlowingCommand)(label)
app.command(cls=FlowingCommand)(doctor)
app.command(cls=FlowingCommand)(bench)
app.add_typer(neurons, name="neurons")
app.add_typer(reproduce, name="reproduce")


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"energy-guard {version('energy-guard')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Take what stands before a command."""


def main() -> None:
    """Run the program and exit."""
    if not open_missing_streams():
        _leave(1, "standard output is closed\nSend it to a file, or to /dev/null.")
    filter_errors()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, and not at exit, where a full disk could not be reported
    except EnergyGuardError as error:
        _leave(BAD_INPUT if isinstance(error, InputError) else 1, str(error))
    except BrokenPipeError:
        _leave(0)
    except OSError as error:
        _leave(1, f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""))


def _leave(status: int, message: str = "") -> None:
    if message:
        tell(f"energy-guard: {message}")
    # What is left in the buffer cannot be written: do not try again while exiting.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
