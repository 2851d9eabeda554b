"""What of a model's text is shown: reasoning is not judged, so it is left out.

A text that is there already and one that is being written come out alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from energy_guard.locate import Range
from energy_guard.reasoning import reasoning


def shown_text(written: str, reasoning_open: bool = False) -> str:
    r"""Return a text without reasoning, and without the blanks between reasoning and answer.

    Args:
        written: what the model wrote.
        reasoning_open: whether it begins as reasoning, see `Trace`.

    >>> shown_text("<think>Lyon?</think>\n\nParis")
    'Paris'
    """
    return "".join(written[start:end] for start, end in _shown(written, reasoning_open))


@dataclass(frozen=True, slots=True)
class ShownPiece:
    """A part of the text that is shown, and the indices of its tokens."""

    tokens: list[int]
    text: str


class ShownStream:
    """Releases text that is not reasoning, as soon as that is certain.

    What may be the beginning of a tag waits for its end, and blanks at the beginning wait for
    what follows them.

    retracted: whether text was released that was reasoning, as its end has come without a
    beginning. Whoever has read that sets it back.
    """

    def __init__(self, reasoning_open: bool = False) -> None:
        self.retracted = False
        self._open = reasoning_open
        self._written = ""
        self._waiting: list[tuple[list[int], int, int]] = []
        self._pieces: list[tuple[list[int], int, int]] = []
        self._released = ""
        self._settled = 0

    def push(self, tokens: list[int], text: str) -> list[ShownPiece]:
        """Take the next text, and return what can be shown of it and of what waited."""
        start = len(self._written)
        self._written += text
        self._pieces.append((tokens, start, len(self._written)))
        self._waiting.append(self._pieces[-1])
        tag = _MAY_BE_TAG.search(self._written)
        return self._settle(tag.start() if tag else len(self._written))

    def finish(self) -> list[ShownPiece]:
        """Return what is left: nothing comes any more."""
        return self._settle(len(self._written), last=True)

    def _settle(self, end: int, *, last: bool = False) -> list[ShownPiece]:
        ranges = _shown(self._written, self._open)
        if self._cut(ranges, 0, self._settled) != self._released:
            self._released, self.retracted = "", True
            self._waiting, self._settled = list(self._pieces), 0  # what is still shown comes again
        if not (last or self._cut(ranges, 0, end).strip()):
            return []
        pieces = []
        while self._waiting and self._waiting[0][2] <= end:
            tokens, start, stop = self._waiting.pop(0)
            text = self._cut(ranges, start, stop)
            self._settled = stop
            self._released += text
            if text:
                pieces.append(ShownPiece(tokens, text))
        return pieces

    def _cut(self, ranges: Iterable[Range], start: int, end: int) -> str:
        """What is shown between two characters."""
        return "".join(self._written[max(a, start) : min(b, end)] for a, b in ranges if a < end)


_MAY_BE_TAG: Final = re.compile(r"<[^<>\s]{0,24}\Z")


def _shown(written: str, reasoning_open: bool) -> list[Range]:
    """Where the text stands that is shown."""
    hidden = reasoning(written, reasoning_open)
    if not hidden:
        return [(0, len(written))]
    edges = [0, *(edge for part in hidden for edge in part), len(written)]
    ranges = list(zip(edges[::2], edges[1::2], strict=True))
    while ranges and not written[slice(*ranges[0])].strip():
        del ranges[0]
    if ranges:
        start, end = ranges[0]
        ranges[0] = end - len(written[start:end].lstrip()), end
    return ranges
