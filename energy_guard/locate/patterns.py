"""Regular expressions that are compiled on first use: importing this package stays fast."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import regex

VERBOSE = regex.VERBOSE
IGNORECASE = regex.IGNORECASE


@dataclass(frozen=True)
class Pattern:
    """A regular expression; its methods are those of a compiled one.

    >>> Pattern("a+").search("baa").span()
    (1, 3)
    """

    text: str
    flags: int = 0

    @cached_property
    def compiled(self) -> regex.Pattern[str]:
        """The compiled expression."""
        return regex.compile(self.text, self.flags)

    def search(self, text: str, start: int = 0, end: int | None = None) -> regex.Match[str] | None:
        """Return the first match."""
        return self.compiled.search(text, start, len(text) if end is None else end)

    def match(self, text: str, start: int = 0, end: int | None = None) -> regex.Match[str] | None:
        """Return the match that begins at the start."""
        return self.compiled.match(text, start, len(text) if end is None else end)

    def fullmatch(
        self, text: str, start: int = 0, end: int | None = None
    ) -> regex.Match[str] | None:
        """Return the match that is all of the range."""
        return self.compiled.fullmatch(text, start, len(text) if end is None else end)

    def finditer(
        self, text: str, start: int = 0, end: int | None = None
    ) -> Iterator[regex.Match[str]]:
        """Return an iterator over the matches."""
        found: Iterator[regex.Match[str]] = self.compiled.finditer(
            text, start, len(text) if end is None else end
        )
        return found

    def sub(self, replacement: str, text: str) -> str:
        """Return the text with every match replaced."""
        return str(self.compiled.sub(replacement, text))

    def split(self, text: str) -> list[str]:
        """Return the parts between the matches."""
        return list(self.compiled.split(text))

    def findall(self, text: str) -> list[str]:
        """Return the text of every match; of its one group, if it has one."""
        return list(self.compiled.findall(text))
