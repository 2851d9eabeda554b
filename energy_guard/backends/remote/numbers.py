"""From the log-probabilities that a server lists for one token to a step of a trace.

A list of the k likeliest tokens gives nll and margin exactly. The row behind it is not known, so
neither are the energies and the entropy: what the list has of it is `TOP_ENTROPY`, a lower bound.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from energy_guard.backends.remote.pieces import bytes_of
from energy_guard.backends.remote.replies import ListedToken, WrittenToken
from energy_guard.energy import LogProbabilityRow
from energy_guard.errors import EngineError
from energy_guard.trace import Step

_IMPOSSIBLE: Final = -9000.0
"""Servers write −9999 where they do not know a log-probability; no model gives one as low."""

_SLACK: Final = 1e-3
"""By how much a sum of probabilities may be above 1: servers round."""

_HINT: Final = (
    "This server's numbers cannot be used. If it has a setting for what it lists, it has to be "
    "the log-probabilities of the raw logits (vLLM: --logprobs-mode raw_logprobs)."
)


@dataclass(frozen=True, slots=True)
class ListedStep:
    """A step with what a list of likely tokens tells of its row.

    pieces: the bytes of the tokens in `step.likeliest`, by their ids. top_entropy: −Σ p log p
    over the listed tokens, in nats, a lower bound of the row's entropy. top_share: Σ p over them.
    Both are NaN if none are listed.
    """

    step: Step
    pieces: dict[int, bytes]
    top_entropy: float
    top_share: float


def token_id(piece: bytes) -> int:
    """Return a number for the bytes of a token: servers do not tell the model's own ids.

    >>> token_id(b" Paris") == token_id(b" Paris"), 0 <= token_id(b"") < 2**48
    (True, True)
    """
    return int.from_bytes(hashlib.sha256(piece).digest()[:6], "big")


def listed_step(token: WrittenToken, piece: bytes, *, top: int, alternatives: int) -> ListedStep:
    """Return the step of a token.

    Args:
        token: as the server lists it.
        piece: its bytes in the answer.
        top: how many of the likeliest tokens were asked for.
        alternatives: how many of them the step is to have.

    Raises:
        EngineError: A number is missing, or these are no log-probabilities of one row.

    """
    chosen = _logprob(token)
    if chosen is None:
        raise EngineError(
            "the server does not tell the log-probability of a token that it wrote",
            "Lower the temperature, as some servers tell it of the likeliest tokens alone; or "
            "use a server that tells it of all.",
        )
    listed = _likeliest_first(token.top_logprobs or ())
    values = [logprob for logprob, _ in listed]
    if chosen == 0 and len(values) < 2:
        raise EngineError("the server lists a token as certain, and nothing beside it", _HINT)
    own = [logprob for logprob, other in listed if _same(other, token)]
    _check_of_one_row(token, chosen, listed, own)
    known = values if own else [*values, chosen]
    share = sum(map(math.exp, known))
    if share > 1 + _SLACK:
        raise EngineError(f"the probabilities of a token and others add up to {share}", _HINT)
    margin = _margin(values, own, top)
    likely = _alternatives(listed[:alternatives], alternatives)
    step = Step(
        token_id(piece),
        piece,
        chosen,
        LogProbabilityRow(log_partition=0.0, mean=math.nan, entropy=math.nan, margin=margin),
        tuple((token_id(other), logprob) for other, logprob in likely),
    )
    return ListedStep(
        step,
        {token_id(other): other for other, _ in likely} | {step.id: piece},
        top_entropy=-sum(p * math.exp(p) for p in known) if values else math.nan,
        top_share=share if values else math.nan,
    )


def _logprob(token: ListedToken) -> float | None:
    """The log-probability of a token; None if the server does not know it.

    Raises EngineError if it is above 0, as a logit may be.
    """
    value = token.logprob
    if value is not None and value > _SLACK:
        raise EngineError(f"the server lists {value} as a log-probability, which is above 0", _HINT)
    return None if value is None or value < _IMPOSSIBLE else min(value, 0.0)


def _likeliest_first(listed: Sequence[ListedToken]) -> list[tuple[float, ListedToken]]:
    """The tokens whose log-probability is known, each with it."""
    known = [(logprob, token) for token in listed if (logprob := _logprob(token)) is not None]
    return sorted(known, key=lambda pair: -pair[0])


def _same(one: ListedToken, other: ListedToken) -> bool:
    bytes_differ = None not in (one.bytes, other.bytes) and one.bytes != other.bytes
    return one.token == other.token and not bytes_differ


def _check_of_one_row(
    token: WrittenToken,
    chosen: float,
    listed: Sequence[tuple[float, ListedToken]],
    own: Sequence[float],
) -> None:
    """Raise EngineError if the chosen token's number is not of the row that is listed beside it.

    Some servers list the last token of a split character with the bytes of all of it: the numbers
    of the others are lost then. Its text is not that of the listed token with its number.
    """
    if own and not any(abs(logprob - chosen) <= _SLACK for logprob in own):
        raise EngineError("the server lists a token with two log-probabilities", _HINT)
    if own or not listed:
        return
    if chosen > listed[0][0] + _SLACK:
        raise EngineError("a token is likelier than the likeliest that is listed", _HINT)
    if any(logprob == chosen > listed[-1][0] for logprob, _ in listed):
        raise EngineError(
            "the server lists the number of another token with one that it wrote",
            "It leaves out numbers of tokens that split a character. Use another server, or "
            "ask for answers without emoji and rare characters.",
        )


def _margin(values: Sequence[float], own: Sequence[float], top: int) -> float:
    """How far the likeliest is above the second one; NaN if it is not sure which these are.

    Servers that list tokens by their texts lose all but one of those that share a text, which is
    seen by their number: fewer than were asked for, or as many with the chosen one as the last,
    which then may stand for a likelier one. own: the chosen one's, if it is listed.
    """
    whole = len(values) > top or (len(values) == top and values[-1] not in own)
    return values[0] - values[1] if whole and len(values) > 1 else math.nan


def _alternatives(
    listed: Sequence[tuple[float, ListedToken]], count: int
) -> list[tuple[bytes, float]]:
    """The bytes of likely tokens with their log-probabilities; EngineError if they are too few."""
    if len(listed) < count:
        raise EngineError(
            f"the server lists {len(listed)} likely tokens, and {count} are asked for",
            "Ask for fewer alternatives.",
        )
    return [
        (other.token.encode(errors="replace") if piece is None else piece, logprob)
        for logprob, other in listed
        for piece in [bytes_of(other)]
    ]
