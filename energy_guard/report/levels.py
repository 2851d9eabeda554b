"""Three levels of risk for colouring tokens, cut at the warning and the abstaining limit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

from energy_guard.score import Detector

Level = Literal["low", "raised", "high"]

_NLL_LIMITS: Final = (math.log(2), math.log(10))
"""Where thresholds say nothing of single tokens: probability below 1/2, below 1/10."""


def token_level(
    detector: Detector, thresholds: Mapping[str, Any], nll: float | None, risk: float | None
) -> Level | None:
    """Return the level of one token; None where its number is missing.

    The policy's thresholds are used where they mean something for a single token. A sum over
    tokens and a probability do not: then the level follows the token's own probability.
    """
    warn, abstain = thresholds["warn"], thresholds["abstain"]
    if thresholds["on"] == "score" and detector.pooling != "sum" and warn is not None:
        limits = warn, math.inf if abstain is None else abstain
    else:
        risk, limits = nll, _NLL_LIMITS
    if risk is None:
        return None
    return "high" if risk >= limits[1] else "raised" if risk >= limits[0] else "low"


def token_levels(result: Mapping[str, Any]) -> list[Level | None]:
    """Return the level of each token of a result (the object of --json)."""
    detector = Detector.parse(result["detector"])
    levels = []
    for token in result["tokens"]:
        value = token[detector.signal]
        risk = None if value is None else detector.risk(value)
        levels.append(token_level(detector, result["thresholds"], token["nll"], risk))
    return levels
