"""Three levels of risk for colouring tokens, cut at the warning and the abstaining limit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from energy_guard.neuron_detector import is_neurons
from energy_guard.score import Detector, worst
from energy_guard.text import joined_glyphs

Level = Literal["low", "raised", "high"]

_NLL_LIMITS: Final = (math.log(2), math.log(10))
"""Where thresholds say nothing of single tokens: probability below 1/2, below 1/10."""


def token_level(
    per_token: bool, thresholds: Mapping[str, Any], nll: float | None, risk: float | None
) -> Level | None:
    """Return the level of one token; None if its number is missing.

    The policy's thresholds are used where they mean something for a single token (`per_token`,
    and not on P(wrong)). Otherwise the level follows the token's own probability.
    """
    warn, abstain = thresholds["warn"], thresholds["abstain"]
    if thresholds["on"] == "score" and per_token and warn is not None:
        limits = warn, math.inf if abstain is None else abstain
    else:
        risk, limits = nll, _NLL_LIMITS
    if risk is None:
        return None
    return "high" if risk >= limits[1] else "raised" if risk >= limits[0] else "low"


class Piece(NamedTuple):
    """Text that is shown in one colour, and the tokens that wrote it."""

    tokens: list[int]
    text: str
    level: Level | None


def coloured(result: Mapping[str, Any]) -> list[Piece]:
    """Return the answer of a result (the object of --json) in pieces, each with its level.

    Of several tokens that share a glyph the riskiest counts.
    """
    tokens, thresholds = result["tokens"], result["thresholds"]
    # What a fitted detector's P(wrong) rests on is no signal of a token: the nll is shown.
    name = result["detector"] if thresholds["on"] == "score" else "nll:max"
    # Nor are a probe's log-odds those of a token.
    of_tokens = not is_neurons(name)
    detector = Detector.parse(name if of_tokens else "nll:max")

    def risk(token: Mapping[str, Any]) -> float | None:
        value = token[detector.signal]
        return None if value is None else detector.risk(value)

    pieces = []
    content = tokens[: result["content_end"]]
    for indices, text in joined_glyphs((i, token["text"]) for i, token in enumerate(content)):
        nll = worst(tokens[i]["nll"] for i in indices)
        level = token_level(
            detector.per_token and of_tokens,
            thresholds,
            nll,
            worst(risk(tokens[i]) for i in indices),
        )
        pieces.append(Piece(indices, text, level))
    return pieces
