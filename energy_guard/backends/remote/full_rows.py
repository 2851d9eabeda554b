"""Servers that send the numbers of whole rows: vLLM with our extension in its workers.

Such a server tells the bytes of its tokens once, and of each row the twenty likeliest tokens and,
behind them, log-partition, mean, entropy and margin. Whatever does not add up is an EngineError.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NoReturn, Self

from energy_guard.backends.base import EngineValue
from energy_guard.backends.remote.connection import Connection
from energy_guard.backends.remote.numbers import ListedStep
from energy_guard.backends.remote.replies import FullRowServer, WrittenToken
from energy_guard.backends.vllm.shared_numbers import LISTED, NUMBERS, PATH
from energy_guard.energy import Row
from energy_guard.errors import EngineError
from energy_guard.trace import Step

_SLACK: Final = 1e-3
"""By how much numbers of one row may miss each other: they are rounded to 32 bits."""

_NAME: Final = "token_id:"
"""What stands in front of a token's id, if tokens are asked for by their ids."""

_RULED_OUT: Final = -9999.0
"""What vLLM writes in the place of −inf and of whatever is smaller."""

Columns = Sequence[tuple[int, float | None]]
"""What is sent of one row: the token in question, the likeliest ones, and the numbers."""


@dataclass(frozen=True)
class FullRows:
    """What such a server tells of itself.

    pieces: the bytes of its tokens, by their ids. context: how many tokens it holds. engine: the
    options of it that move its numbers.
    """

    pieces: tuple[bytes, ...]
    context: int
    engine: Mapping[str, EngineValue]

    @classmethod
    def of(cls, connection: Connection) -> Self | None:
        """Ask a server; None if it has no such rows."""
        found = connection.get_if_there(PATH)
        if found is None:
            return None
        told = FullRowServer.read(found)
        try:
            pieces = tuple(map(bytes.fromhex, told.pieces))
        except ValueError as error:
            raise EngineError("the server lists bytes of its tokens that are none") from error
        return cls(pieces, told.context, told.engine)

    @cached_property
    def digest(self) -> str:
        """Of its vocabulary."""
        return hashlib.sha256(repr(self.pieces).encode()).hexdigest()[:32]

    def piece(self, token: int) -> bytes:
        """The bytes of a token; a control token, and an id that is no token, has none."""
        return self.pieces[token] if 0 <= token < len(self.pieces) else b""

    def step(self, columns: Columns, alternatives: int = 0) -> Step:
        """Return the step of the first token in these columns.

        Raises:
            EngineError: They are not those of a row with its numbers, or do not add up.

        """
        listed, numbers = columns[:-NUMBERS], columns[-NUMBERS:]
        ids = {token for token, _ in listed}
        free = (token for token in range(len(columns)) if token not in ids)
        if len(listed) not in (LISTED, LISTED + 1) or any(
            token != place for (token, _), place in zip(numbers, free, strict=False)
        ):
            _refuse("the numbers of a row did not come with its log-probabilities")
        values = [value for _, value in columns if value is not None and math.isfinite(value)]
        if len(values) < len(columns):
            _refuse("a row has numbers that are none")
        token, own = columns[0][0], values[0]
        if _RULED_OUT in values[-NUMBERS:]:
            raise EngineError(
                "a row of the server has tokens that are ruled out, and so no numbers",
                "Is it the model itself that rules tokens out? Then load it here: load(FILE).",
            )
        row = Row(*values[-NUMBERS:])
        pairs = zip(values[:-NUMBERS], listed, strict=True)
        likely = sorted((-value, other) for value, (other, _) in pairs)[:LISTED]
        self._check(row, [-value for value, _ in likely])
        best = tuple((other, row.log_partition - value) for value, other in likely[:alternatives])
        return Step(token, self.piece(token), own + row.log_partition, row, best)

    def _check(self, row: Row, likely: Sequence[float]) -> None:
        """Raise EngineError if a row's entropy or margin cannot be that of its likeliest tokens."""
        share = math.fsum(map(math.exp, likely))
        least = -math.fsum(value * math.exp(value) for value in likely)
        rest = max(0.0, 1 - share)
        others = max(1, len(self.pieces))
        most = least + (rest * math.log(others / rest) if rest else 0.0)
        margin = likely[0] - likely[1]
        if (
            share > 1 + _SLACK
            or not least - _SLACK <= row.entropy <= most + _SLACK
            or abs(row.margin - margin) > _SLACK
        ):
            _refuse("the numbers of a row do not fit its likeliest tokens")


class KnownPieces:
    """Gives each token the bytes that the server told; see `pieces.Placing`, which has to look.

    A control token waits for what comes after it: the last one may end the answer.
    """

    text_left: Final = ""

    def __init__(self, rows: FullRows) -> None:
        self._rows = rows
        self._waiting: list[WrittenToken] = []

    def take(
        self, tokens: Sequence[WrittenToken], _text: str
    ) -> Iterator[tuple[WrittenToken, bytes]]:
        """Yield the tokens with their bytes."""
        for token in tokens:
            yield from ((waiting, b"") for waiting in self._waiting)
            self._waiting = []
            piece = self._rows.piece(id_of(token))
            if piece:
                yield token, piece
            else:
                self._waiting = [token]

    def finish(self) -> tuple[list[tuple[WrittenToken, bytes]], list[WrittenToken]]:
        """Return none with bytes, and the last one without."""
        return [], self._waiting


def full_step(token: WrittenToken, rows: FullRows, alternatives: int) -> ListedStep:
    """Return the step of a token that a server listed with the numbers of its row.

    Args:
        token: as the server lists it.
        rows: what the server told of itself.
        alternatives: how many of the likeliest tokens the step is to have.

    Raises:
        EngineError: They are not there, or do not add up.

    """
    columns = [(id_of(other), other.logprob) for other in token.top_logprobs or ()]
    if not columns or columns[0] != (id_of(token), token.logprob):
        _refuse("the numbers of a row are not those of its token")
    step = rows.step(columns, alternatives)
    return ListedStep(step, {}, top_entropy=math.nan, top_share=math.nan)


def id_of(token: object) -> int:
    """Return the id that a server writes in the place of a token's text."""
    name: str = token.token  # type: ignore[attr-defined]
    digits = name.removeprefix(_NAME)
    if digits == name or not (digits.isascii() and digits.isdigit()):
        _refuse("the server lists something else in the place of a token's id")
    return int(digits)


def _refuse(what: str) -> NoReturn:
    raise EngineError(
        what,
        "Start the server with python -m energy_guard.backends.vllm.serve, of the version that "
        "is installed here.",
    )
