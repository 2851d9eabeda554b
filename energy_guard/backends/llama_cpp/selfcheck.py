"""A second look at the rows: the same tokens, evaluated plainly and computed in float64."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import numpy as np

from energy_guard.backends.llama_cpp.backend import LlamaCpp
from energy_guard.backends.llama_cpp.tap import current_row
from energy_guard.energy import RowReducer
from energy_guard.errors import EngineError
from energy_guard.request import Finished, Request, Token


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """tokens: how many were compared. difference: the largest one, of log-partition and token
    logit. capture_s: time to reduce one row. token_s: median time of one guarded token.
    """

    tokens: int
    difference: float
    capture_s: float
    token_s: float


def self_check(backend: LlamaCpp, request: Request) -> SelfCheck:
    """Generate an answer, evaluate the same ids again without any hook, and compare."""
    llm = backend.engine
    llm.reset()
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
    reducer, difference, reducing = RowReducer(llm.n_vocab()), 0.0, []
    llm.reset()
    llm.eval(llm.input_ids[: trace.prompt_tokens].tolist())
    for t, token in enumerate(trace.ids.tolist()):
        raw = current_row(llm)
        started = time.perf_counter()
        reducer.reduce(raw)  # right after a decode, when the caches are as cold as in use
        reducing.append(time.perf_counter() - started)
        row = raw.astype(np.float64)
        log_partition = row.max() + np.log(np.exp(row - row.max()).sum())
        difference = max(
            difference,
            abs(log_partition - trace.log_partition[t]),
            abs(row[token] - trace.token_logit[t]),
        )
        llm.eval([token])
    return SelfCheck(len(trace), float(difference), median(reducing), median(times[1:]))
