"""Text that comes in pieces, written to a terminal without breaking words at its edge."""

from __future__ import annotations

import re
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_RUNS: Final = re.compile(r"\n|[^\S\n]+|\S+")


class WordWrap:
    """Holds a word back until it is complete, and begins a new line where it does not fit.

    Characters that fill two cells (Chinese, emoji) stand between words of their own. Where the
    console is no terminal nothing is held back or broken.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._word = Text()
        self._column = 0

    def write(self, text: str, style: str = "") -> None:
        """Take the next piece."""
        if not self._console.is_terminal:
            self._print(Text(text, style))
            return
        for run in _RUNS.findall(text):
            if run == "\n":
                self.new_line()
            elif run.isspace():
                self._end_word()
                self._space(run, style)
            else:
                self._word.append(run, style)
                wide = cell_len(run) > len(run)
                if wide or self._word.cell_len >= self._console.width:
                    self._end_word()

    def new_line(self) -> None:
        """End the line, with what was held back on it."""
        self._end_word()
        self._print(Text("\n"))
        self._column = 0

    def _space(self, run: str, style: str) -> None:
        """Spaces at the edge are what the line was broken at: they are not shown."""
        cells = cell_len(run.expandtabs())
        if self._column + cells < self._console.width:
            self._print(Text(run.expandtabs(), style))
            self._column += cells
        else:
            self._column = self._console.width

    def _end_word(self) -> None:
        width, cells = self._console.width, self._word.cell_len
        if self._column and self._column + cells > width:
            self._print(Text("\n"))
            self._column = 0
        self._print(self._word)
        self._column += cells
        if self._column > width:  # longer than a line: the terminal broke it
            self._column %= width
        self._word = Text()

    def _print(self, text: Text) -> None:
        self._console.print(text, end="", soft_wrap=True, highlight=False)
