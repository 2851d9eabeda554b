"""What a response says of each token, if the request asks for it: its signals, risk and level."""

from __future__ import annotations

from typing import Any

from energy_guard.events import Text
from energy_guard.policy import Policy
from energy_guard.report.levels import Level, token_level
from energy_guard.result import Result
from energy_guard.score import Scorer


def token_signals(result: Result, scorer: Scorer) -> list[dict[str, Any]]:
    """Say of every token what its row says of it, and whether it is of the exact answer.

    Args:
        result: an answer that is shown.
        scorer: the detector, which turns its signal into a risk.

    Returns:
        One object for each token of the trace, by its index: null stands for what is missing.
    """
    exact = frozenset(result.span.tokens if result.span else ())
    told = []
    for index, token in enumerate(result.trace.tokens()):
        value = token[scorer.signal]
        risk = None if value is None else scorer.risk(value)
        numbers = {name: number for name, number in token.items() if name != "text"}
        told.append(
            {"index": index}
            | numbers
            | {
                "risk": risk,
                "level": _level(result.policy, scorer, token["nll"], risk),
                "exact": index in exact,
            }
        )
    return told


def running_signals(text: Text, policy: Policy, scorer: Scorer) -> dict[str, Any]:
    """Say of a text that is being written how sure the model is of it.

    Args:
        text: of one token, or of several that share a glyph.
        policy: its limits divide the levels.
        scorer: the detector that the risk is of.
    """
    level = _level(policy, scorer, text.nll, text.risk)
    return {"event": "text", "nll": text.nll, "risk": text.risk, "level": level}


def _level(policy: Policy, scorer: Scorer, nll: float | None, risk: float | None) -> Level | None:
    limits = {"on": policy.on, "warn": policy.warn, "abstain": policy.abstain}
    return token_level(scorer.per_token, limits, nll, risk)
