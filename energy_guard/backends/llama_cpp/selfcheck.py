"""A second look at the rows: the same tokens, evaluated plainly and computed in float64."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np

from energy_guard.backends.llama_cpp.backend import LlamaCpp
from energy_guard.energy import RowReducer
from energy_guard.errors import EngineError
from energy_guard.request import Finished, Request, Token

_REPEATS: Final = 50


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
    difference, row = 0.0, np.empty(0)
    llm.reset()
    llm.eval(llm.input_ids[: trace.prompt_tokens].tolist())
    for t, token in enumerate(trace.ids.tolist()):
        pointer = llm._ctx.get_logits_ith(-1)
        row = np.ctypeslib.as_array(pointer, shape=(llm.n_vocab(),)).astype(np.float64)
        log_partition = row.max() + np.log(np.exp(row - row.max()).sum())
        difference = max(
            difference,
            abs(log_partition - trace.log_partition[t]),
            abs(row[token] - trace.token_logit[t]),
        )
        llm.eval([token])
    return SelfCheck(len(trace), float(difference), _reduce_time(row), median(times[1:]))


def _reduce_time(row: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    raw = row.astype(np.float32)
    reducer = RowReducer(raw.size)
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        reducer.reduce(raw)
        times.append(time.perf_counter() - started)
    return median(times)
