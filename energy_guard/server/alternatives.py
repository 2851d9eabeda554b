"""The tokens that could have been chosen instead, in OpenAI's form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from energy_guard.backends import Backend
from energy_guard.likeliest import IDS, LOGITS
from energy_guard.request import Request
from energy_guard.trace import Trace


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token in one place of an answer, and its log-probability before any sampling."""

    id: int
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


def alternatives(backend: Backend, request: Request, trace: Trace) -> list[list[Alternative]]:
    """Return the likeliest tokens in each place of an answer, the likeliest first.

    Args:
        backend: which wrote it, and knows what its tokens stand for.
        request: what was asked, with its number of alternatives.
        trace: of the answer.

    Returns:
        One list for each token of the trace.
    """
    ids, logits = trace.extras[IDS], trace.extras[LOGITS]
    logprobs = logits - trace.log_partition[: len(trace), None]
    with backend.session(request) as session:
        return [
            [
                Alternative(token, session.piece_of(token), logprob)
                for token, logprob in zip(tokens, values, strict=True)
                if math.isfinite(logprob)  # else the model itself rules it out
            ]
            for tokens, values in zip(ids.tolist(), logprobs.tolist(), strict=True)
        ]
