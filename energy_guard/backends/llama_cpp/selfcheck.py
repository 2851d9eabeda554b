"""A second look at the rows: the same tokens, evaluated plainly and computed in float64."""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from energy_guard.backends.llama_cpp.backend import LlamaCpp
from energy_guard.backends.llama_cpp.tap import current_row
from energy_guard.backends.selfcheck import SelfCheck, answer_of, difference
from energy_guard.energy import RowReducer
from energy_guard.request import Request


def self_check(backend: LlamaCpp, request: Request) -> SelfCheck:
    """Generate an answer, evaluate the same ids again without any hook, and compare."""
    llm = backend.engine
    llm.reset()
    trace, token_s = answer_of(backend, request)
    reducer, largest, reducing = RowReducer(llm.n_vocab()), 0.0, []
    llm.reset()
    llm.eval(llm.input_ids[: trace.prompt_tokens].tolist())
    for t, token in enumerate(trace.ids.tolist()):
        row = current_row(llm)
        started = time.perf_counter()
        reducer.reduce(row)  # right after a decode, when the caches are as cold as in use
        reducing.append(time.perf_counter() - started)
        largest = max(largest, difference(trace, t, row.astype(np.float64)))
        llm.eval([token])
    return SelfCheck(len(trace), largest, median(reducing), token_s)
