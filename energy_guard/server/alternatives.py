"""The tokens that could have been chosen instead: the answer is read once more for them.

While an answer is written no row is kept, so this costs as much as writing it again. Only an answer
that is shown is read, and only for who asks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from energy_guard.backends import Backend
from energy_guard.errors import EngineBusyError
from energy_guard.policy import Policy
from energy_guard.request import Request
from energy_guard.server.errors import ApiError
from energy_guard.trace import Trace


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token in one place of an answer, and its log-probability before any sampling."""

    piece: bytes
    logprob: float

    @property
    def form(self) -> dict[str, Any]:
        """The token in OpenAI's form."""
        return {
            "token": self.piece.decode(errors="replace"),
            "logprob": self.logprob,
            "bytes": list(self.piece),
        }


def check_policy(policy: Policy) -> None:
    """Raise ApiError if an answer may come from another prompt than the one that was asked."""
    if policy.retries and set(policy.retry) != {"resample"}:
        raise ApiError(
            400,
            "alternatives cannot be listed: this server's policy tries again with another prompt",
            "Ask for none of them: top_logprobs 0, or logprobs 0 of a plain completion.",
        )


def alternatives(
    backend: Backend, request: Request, trace: Trace, count: int
) -> list[list[Alternative]]:
    """Return the likeliest tokens in each place of an answer, the likeliest first.

    Args:
        backend: which wrote it.
        request: what was asked.
        trace: of the answer, T tokens with content.
        count: how many tokens, at least 1.

    Returns:
        T lists of `count` tokens.

    Raises:
        EngineBusyError: the request is cancelled or out of time.
    """
    ids = trace.ids[: trace.content_end].tolist()
    found = []
    with backend.session(request) as session:
        prompt = tuple(session.beginning([request]))
        plain = Request(ids=prompt, cancel=request.cancel, deadline=request.deadline)
        for t in range(len(ids)):
            if request.interrupted:
                raise EngineBusyError("out of time, while alternatives were looked up")
            before = replace(plain, ids=(*prompt, *ids[:t]))
            row = session.next_row(before).astype(np.float64)
            total = float(row.max()) + math.log(float(np.exp(row - row.max()).sum()))
            best = np.argsort(-row, kind="stable")[:count]
            found.append(
                [Alternative(session.piece_of(int(i)), float(row[i]) - total) for i in best]
            )
    return found
