"""Byte pieces of tokens → text, character offsets and stop strings.

Tokens may split a character (emoji, Chinese) or a glyph (a letter and its accent). A glyph
is never split here: it is shown with the token that begins it.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import regex

Range = tuple[int, int]
"""Start and end in characters of a text."""

_GLYPH = regex.compile(r"\X")


@dataclass(frozen=True)
class Alignment:
    """Text and the tokens that wrote it.

    text: the content, decoded (bytes that are no UTF-8 become U+FFFD).
    texts: for each token the glyphs that begin in it; joined they equal `text`.
    offsets: for each token (start, end) in characters of `text`, widened to whole glyphs, so
    the tokens of one split glyph share its range; (p, p) for a token without content.
    """

    text: str
    texts: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]


def align(pieces: Sequence[bytes], content_bytes: int | None = None) -> Alignment:
    """Align tokens with the text of their first `content_bytes` bytes (all by default)."""
    raw = b"".join(pieces)[:content_bytes]
    text, char_of_byte = _decode(raw)
    glyph_start, glyph_end = glyph_bounds(text)
    ends = list(accumulate((len(piece) for piece in pieces), initial=0))
    texts, offsets = [], []
    for begin, end in pairwise(ends):
        begin, end = min(begin, len(raw)), min(end, len(raw))
        if begin == end:
            at = glyph_end[char_of_byte[begin - 1]] if begin else 0
            offsets.append((at, at))
            texts.append("")
            continue
        first, last = char_of_byte[begin], char_of_byte[end - 1]
        offsets.append((glyph_start[first], glyph_end[last]))
        begins_here = begin == 0 or glyph_start[first] != glyph_start[char_of_byte[begin - 1]]
        start = glyph_start[first] if begins_here else glyph_end[first]
        texts.append(text[start : max(start, glyph_end[last])])
    return Alignment(text, tuple(texts), tuple(offsets))


def _decode(raw: bytes) -> tuple[str, list[int]]:
    """Decode, and tell for each byte the index of the character that it belongs to."""
    if raw.isascii():
        return raw.decode("ascii"), list(range(len(raw)))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = ""
    char_of_byte: list[int] = []
    for index in range(len(raw) + 1):
        final = index == len(raw)
        out = decoder.decode(raw[index : index + 1], final)
        waiting = 0 if final else len(decoder.getstate()[0])
        consumed = min(index + 1, len(raw)) - waiting
        pending = consumed - len(char_of_byte)
        if out:  # several at once where bytes were broken: the last of them have a byte each
            char_of_byte += [len(text)] * (pending - len(out) + 1)
            char_of_byte += range(len(text) + 1, len(text) + len(out))
        text += out
    return text, char_of_byte


def glyph_bounds(text: str) -> tuple[list[int], list[int]]:
    """Return for each character the start and the end of its glyph (extended grapheme cluster).

    >>> glyph_bounds("e\u0301t")
    ([0, 0, 2], [2, 2, 3])
    """
    if text.isascii() and "\r" not in text:  # every character is a glyph of its own
        return list(range(len(text))), list(range(1, len(text) + 1))
    starts, ends = [], []
    for match in _GLYPH.finditer(text):
        size = match.end() - match.start()
        starts += [match.start()] * size
        ends += [match.end()] * size
    return starts, ends


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return rising ranges that do not overlap; empty ones are dropped.

    >>> merged([(3, 5), (0, 1), (4, 6), (2, 2)])
    [(0, 1), (3, 6)]
    """
    whole: list[Range] = []
    for start, end in sorted(ranges):
        if whole and start <= whole[-1][1]:
            whole[-1] = whole[-1][0], max(end, whole[-1][1])
        elif start < end:
            whole.append((start, end))
    return whole


def quoted(text: str, limit: int = 80) -> str:
    r"""Return a text as Python writes it, on one line and cut to at most `limit` characters.

    >>> quoted("It is\nParis.", 9)
    "'It is\\nPa…'"
    """
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


class StopStrings:
    """Looks for stop strings in bytes that arrive piece by piece."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stop.encode() for stop in stops)
        self._longest = max(map(len, self._stops), default=0)
        self._tail = b""
        self._seen = 0
        self._found = False

    def push(self, piece: bytes) -> int | None:
        """Add a piece; return where content stops (in bytes from the start) once one is found."""
        window = self._tail + piece
        offset = self._seen - len(self._tail)
        self._seen += len(piece)
        found = [at for stop in self._stops if (at := window.find(stop)) >= 0]
        if found:
            self._found = True
            return offset + min(found)
        self._tail = window[-(self._longest - 1) :] if self._longest > 1 else b""
        return None

    def held_back(self) -> int:
        """How many of the last bytes may belong to a stop string; all once one is found."""
        if self._found:
            return self._seen
        return max(
            (
                size
                for stop in self._stops
                for size in range(1, min(len(stop), len(self._tail) + 1))
                if self._tail.endswith(stop[:size])
            ),
            default=0,
        )


def joined_glyphs(texts: Iterable[tuple[int, str]]) -> list[tuple[list[int], str]]:
    """Put tokens without a text of their own with the token that shows their glyph.

    texts: (token index, text) in order. Returns (token indices, text) for each text shown.
    """
    groups: list[tuple[list[int], str]] = []
    for index, text in texts:
        if text:
            groups.append(([index], text))
        elif groups:
            groups[-1][0].append(index)
    return groups


def _plain_boundary(before: bytes, after: bytes) -> bool:
    """Whether two pieces are ASCII and no glyph runs on from one to the other: the usual case."""
    return (
        bool(before and after)
        and before.isascii()
        and after.isascii()
        and not (before.endswith(b"\r") and after.startswith(b"\n"))
    )


_MOST_WAITING = 64
"""Tokens that one glyph may take before it is released in parts."""


def _half_character(raw: bytes) -> int:
    """How many of the last bytes are the beginning of a character that is not complete."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(raw[-4:])  # what came before does not change this: a character has four at most
    return len(decoder.getstate()[0])


class TextStream:
    """Releases tokens' text as soon as it can no longer change.

    A token is released once the next one has shown that no glyph runs on into it and that no
    stop string may have begun; so text comes one token late, like its energies.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._first = 0
        self._released_bytes = 0

    def push(self, piece: bytes, held_back: int = 0) -> list[tuple[int, str]]:
        """Add a token; return (token index, text) for each token whose text is settled."""
        waiting, self._pieces = self._pieces, [*self._pieces, piece]
        if len(waiting) == 1 and not held_back and _plain_boundary(waiting[0], piece):
            self._drop(1)
            return [(self._first - 1, waiting[0].decode("ascii"))]
        raw = b"".join(self._pieces)
        # The last bytes may be half a character; the next glyph must begin before them.
        aligned = align(self._pieces, len(raw) - _half_character(raw))
        free = len(raw) - held_back
        ends = list(accumulate(map(len, self._pieces)))
        ready = 0
        for index in range(len(self._pieces) - 1):
            after, (start, end) = aligned.offsets[index][1], aligned.offsets[index + 1]
            if after <= start < end and ends[index] <= free:
                ready = index + 1
        if not ready and len(self._pieces) > _MOST_WAITING and ends[-2] <= free:
            ready = len(self._pieces) - 1  # no glyph that a person reads is as long as this
        released = [(self._first + i, aligned.texts[i]) for i in range(ready)]
        self._drop(ready)
        return released

    def at_once(self, held_back: int = 0) -> list[tuple[int, str]]:
        """Release the one token that waits, if it is plain text and no stop string may have begun.

        A mark that the next token puts on its last letter is a text of its own then.
        """
        [piece] = self._pieces
        if held_back or not piece.isascii():
            return []
        self._drop(1)
        return [(self._first - 1, piece.decode("ascii"))]

    def finish(self, content_bytes: int) -> list[tuple[int, str]]:
        """Release what is left of a text whose content is `content_bytes` long in all."""
        texts = align(self._pieces, max(0, content_bytes - self._released_bytes)).texts
        released = [(self._first + i, text) for i, text in enumerate(texts)]
        self._drop(len(self._pieces))
        return released

    def _drop(self, count: int) -> None:
        self._released_bytes += sum(map(len, self._pieces[:count]))
        del self._pieces[:count]
        self._first += count


def alike(text: str, other: str) -> int:
    """Return how many characters two texts begin with alike: where they part, without their words.

    >>> alike("café au lait", "cafe au lait")
    3
    """
    pairs = enumerate(zip(text, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(text), len(other)))
