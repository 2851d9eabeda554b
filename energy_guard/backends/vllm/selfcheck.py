"""A second look at the rows: the same tokens, whole rows of theirs, computed in float64."""

from __future__ import annotations

import time
from statistics import median
from typing import Final

import numpy as np

from energy_guard.backends.selfcheck import TOLERANCE, SelfCheck, answer_of, difference
from energy_guard.backends.vllm.backend import Vllm
from energy_guard.energy import RowReducer
from energy_guard.request import Request

_OF_16_BITS: Final = 0.5
"""Rows of one prompt differ by up to 0.38 in bfloat16, read in one way and in another."""


def self_check(backend: Vllm, request: Request) -> SelfCheck:
    """Generate an answer, ask for the whole row before each of its tokens, and compare."""
    trace, token_s = answer_of(backend, request)
    prompt, ids = backend.encode(request, trace.ids.tolist())
    reducer, largest, reducing = None, 0.0, []
    with backend.session() as session:
        for t in range(len(ids)):
            row = session.next_row(Request(ids=(*prompt, *ids[:t])))
            reducer = reducer or RowReducer(row.size)
            started = time.perf_counter()
            reducer.reduce(row)
            reducing.append(time.perf_counter() - started)
            largest = max(largest, difference(trace, t, row.astype(np.float64)))
    exact = backend.info.engine["dtype"] == "float32"
    tolerance = TOLERANCE if exact else _OF_16_BITS
    return SelfCheck(len(trace), largest, median(reducing), token_s, tolerance)
