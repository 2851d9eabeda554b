"""What a backend's second look at its own rows finds, and what every such look needs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
import numpy.typing as npt

from energy_guard.backends.base import Backend
from energy_guard.errors import EngineError
from energy_guard.request import Finished, Request, Token
from energy_guard.trace import Trace

TOLERANCE: Final = 1e-3
"""How far a number may be from a second computation, in nats."""


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """tokens: how many were compared. difference: the largest one, of log-partition and token
    logit. capture_s: time to reduce one row. token_s: median time of one guarded token. tolerance:
    how large the difference may be.
    """

    tokens: int
    difference: float
    capture_s: float
    token_s: float
    tolerance: float = TOLERANCE


def answer_of(backend: Backend, request: Request) -> tuple[Trace, float]:
    """Generate an answer; return its trace and the median seconds of a token but the first."""
    times, trace = [], None
    started = time.perf_counter()
    for event in backend.generate([request]):
        if isinstance(event, Token):
            times.append(time.perf_counter() - started)
            started = time.perf_counter()
        elif isinstance(event, Finished):
            trace = event.trace
    if trace is None or len(trace) < 2:
        raise EngineError("the model wrote nothing to check", "Try another prompt or model.")
    return trace, median(times[1:])


def difference(trace: Trace, t: int, row: npt.NDArray[np.float64]) -> float:
    """How far the numbers of token t are from those of `row`, its raw logits in float64."""
    log_partition = row.max() + np.log(np.exp(row - row.max()).sum())
    of_partition = abs(log_partition - trace.log_partition[t])
    return float(max(of_partition, abs(row[trace.ids[t]] - trace.token_logit[t])))
