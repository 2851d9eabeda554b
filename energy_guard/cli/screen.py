"""Standard output and standard error: whatever is printed goes through here, and is filtered.

`Console` filters what it shows and keeps its own colours; `say` and `tell` write plain text;
`Errors` stands in for `sys.stderr`, so that warnings, tracebacks and other packages are filtered.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

import rich.console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.segment import Segment

from energy_guard.report.printable import printable, printable_json


class Console(rich.console.Console):
    """A console whose text steers no terminal and is no markup; styles are given as `Text`."""

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        options.setdefault("file", _unfiltered(sys.stderr) if stderr else None)
        super().__init__(stderr=stderr, markup=False, emoji=False, **options)

    def render(
        self,
        renderable: rich.console.RenderableType,
        options: rich.console.ConsoleOptions | None = None,
    ) -> Iterable[Segment]:
        """Render, as everything is that is printed, and filter the text of it."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield Segment(printable(text), style) if control is None else segment


class Errors:
    """Standard error for what writes there by itself: a stream that filters each text.

    Bars of other packages go back to the beginning of their line, and up: as first characters of
    a text, or as the whole of it. Their colours are left out.
    """

    def __init__(self, stream: TextIO) -> None:
        self.unfiltered: Final = stream

    def write(self, text: str) -> int:
        """Write a text without what would steer the terminal otherwise."""
        moves = _MOVES.match(text)
        begin = moves[0] if moves else ""
        rest = _COLOURS.sub("", text[len(begin) :])
        self.unfiltered.write(begin + printable(rest))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's own."""
        return getattr(self.unfiltered, name)


_MOVES: Final = re.compile(r"(?:\n*(?:\x1b\[A)+)\Z|\r+")
_COLOURS: Final = re.compile(r"\x1b\[[\d;]*m")


def _unfiltered(stream: TextIO | Errors) -> Any:
    """The stream below: a console filters before it adds its colours."""
    return stream.unfiltered if isinstance(stream, Errors) else stream


def say(text: str = "") -> None:
    """Write a line to standard output."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def say_json(value: Any) -> None:
    """Write an object to standard output, as JSON on one line."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(printable_json(text) + "\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


@contextmanager
def progress(*columns: ProgressColumn, last: ProgressColumn | None = None) -> Iterator[Progress]:
    """Show bars on standard error: a description, the bar, `columns`, the time left, `last`."""
    text = TextColumn("{task.description}", markup=False)
    ends = (TimeRemainingColumn(), *([last] if last else []))
    everything = (text, BarColumn(bar_width=20), *columns, *ends)
    with Progress(*everything, console=Console(stderr=True)) as shown:
        yield shown


def open_missing_streams() -> bool:
    """Open the standard streams that the program was started without; tell if output was there.

    The next file that is opened would get the number of one that is missing, and what is printed
    would end up in it.
    """
    there = sys.stdout is not None
    for number, mode in enumerate(("r", "w", "w")):
        name = ("stdin", "stdout", "stderr")[number]
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    return there


def filter_errors() -> None:
    """Put the filter in the place of standard error, and let no console fail on a character."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a replacement, not a traceback
    sys.stderr = Errors(sys.stderr)
