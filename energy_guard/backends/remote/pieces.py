"""Which bytes of an answer each of its tokens wrote, although servers may not tell.

Tokens may split a character. Some servers tell the bytes of such a token, some show U+FFFD or
nothing in its place. The text of the whole answer then settles it, or the answer is refused:
numbers that stand at the wrong word would be worse than none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Final

from energy_guard.backends.remote.replies import ListedToken, WrittenToken
from energy_guard.errors import EngineError
from energy_guard.text import glyph_bounds

Placed = tuple[WrittenToken, bytes]
"""A token with the bytes that it wrote."""


def bytes_of(token: ListedToken) -> bytes | None:
    """Return the bytes of a token; None if the server shows only that there are some.

    >>> bytes_of(ListedToken(token=" is", logprob=-1.0)), bytes_of(ListedToken(token="", logprob=0))
    (b' is', None)
    """
    if token.bytes is not None:
        if not all(0 <= byte < 256 for byte in token.bytes):
            raise EngineError("the server lists bytes that are none")
        given = bytes(token.bytes)
        return None if _BROKEN in given else given
    hidden = not token.token or "\N{REPLACEMENT CHARACTER}" in token.token
    return None if hidden else _encoded(token.token)


_BROKEN: Final = "\N{REPLACEMENT CHARACTER}".encode()


def _encoded(text: str) -> bytes:
    """A server's text as bytes; JSON may hold half of a character, and no text does."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise EngineError("the server sent half of a character (a surrogate)") from error


class Placing:
    """Lays the tokens of an answer along its text, both of which come in parts.

    >>> placing = Placing()
    >>> list(placing.take([WrittenToken(token="Par", logprob=-1.0)], "Paris"))[0][1]
    b'Par'
    >>> placing.text_left
    'is'
    """

    def __init__(self) -> None:
        self._tokens: list[WrittenToken] = []
        self._text = b""
        self._begun = False

    @property
    def text_left(self) -> str:
        """The text that no token has been found for yet."""
        return self._text.decode(errors="replace")

    def take(self, tokens: Sequence[WrittenToken], text: str) -> Iterator[Placed]:
        """Add what has come, and yield the tokens whose place is settled by it.

        Raises EngineError for tokens that do not write this text.
        """
        self._tokens += tokens
        self._text += _encoded(text)
        yield from self._settled(final=False)

    def finish(self) -> tuple[list[Placed], list[WrittenToken]]:
        """Return the last tokens with their bytes, and the tokens that wrote nothing after them.

        Nothing more comes. Raises EngineError as `take`.
        """
        return list(self._settled(final=True)), self._tokens

    def _settled(self, *, final: bool) -> Iterator[Placed]:
        while self._tokens:
            hidden = list(takewhile(lambda token: bytes_of(token) is None, self._tokens))
            after = self._tokens[len(hidden) :]
            if not self._text:
                return
            if hidden:
                pieces = self._split(hidden, after, final=final)
            else:
                pieces = self._next(bytes_of(after[0]) or b"")
            if pieces is None:
                return
            for piece in pieces:
                token = self._tokens.pop(0)
                self._begun = self._begun or bool(piece)
                yield token, piece

    def _next(self, piece: bytes) -> list[bytes] | None:
        """The piece of the next token, whose bytes are known; None if its text has not come."""
        shown = piece
        if not self._begun and not self._text.startswith(piece):
            shown = piece.lstrip()  # some servers take blanks off the beginning of an answer
        if not self._text.startswith(shown):
            if shown.startswith(self._text):
                return None
            raise _unlike()
        self._text = self._text[len(shown) :]
        return [shown]

    def _split(
        self, hidden: Sequence[WrittenToken], after: Sequence[WrittenToken], *, final: bool
    ) -> list[bytes] | None:
        """The pieces of tokens whose bytes are not told; None if their text has not come."""
        most = sum(4 * max(1, len(token.token)) for token in hidden)
        known = next((piece for token in after if (piece := bytes_of(token))), b"")
        if not final and (not known or len(self._text) < most + len(known)):
            return None
        ends = [
            end
            for end in range(len(hidden), min(most, len(self._text)) + 1)
            if self._text.startswith(known, end) and (known or end == len(self._text))
            if _may_show(self._text[:end], hidden)
        ]
        pieces = _shared(self._text[: ends[0]], len(hidden)) if len(ends) == 1 else None
        if pieces is None:
            raise EngineError(
                "the server does not tell the bytes of tokens that split a character, and its "
                f"text does not tell which of {len(hidden)} tokens wrote what",
                "Use a server that lists the bytes of tokens, or ask without streaming.",
            )
        self._text = self._text[ends[0] :]
        return pieces


def _may_show(part: bytes, hidden: Sequence[WrittenToken]) -> bool:
    """Whether a part of the text may be what some tokens wrote: they show what is ASCII in it."""
    try:
        written = part.decode()
    except UnicodeDecodeError:
        return False
    shown = "".join(token.token for token in hidden)
    return [c for c in written if c.isascii()] == [c for c in shown if c.isascii()]


def _shared(part: bytes, count: int) -> list[bytes] | None:
    """A text in so many pieces; None if it is not known how it was divided, and it matters.

    Within one glyph it does not: all of its tokens stand for the glyph.
    """
    if len(part) < count:
        return None
    glyphs = len(set(glyph_bounds(part.decode())[0]))
    if glyphs > 1 and len(part) != count:
        return None
    return [part[at : at + 1] for at in range(count - 1)] + [part[count - 1 :]]


def _unlike() -> EngineError:
    return EngineError(
        "the tokens that the server lists do not make up the text that it sent",
        "This server's answers cannot be judged: use another one, a newer version, or ask "
        "without streaming.",
    )
