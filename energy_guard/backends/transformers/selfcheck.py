"""A second look at the rows: the same tokens, evaluated plainly and computed in float64."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from energy_guard.backends.selfcheck import SelfCheck, answer_of, difference
from energy_guard.backends.transformers.backend import Transformers
from energy_guard.backends.transformers.offload import device_of
from energy_guard.backends.transformers.reduce import RowsReducer
from energy_guard.request import Request


def self_check(backend: Transformers, request: Request) -> SelfCheck:
    """Generate an answer, evaluate the same ids again past `generate`, and compare."""
    import torch

    model = backend.engine
    trace, token_s = answer_of(backend, request)
    reducer, largest, reducing = RowsReducer(), 0.0, []
    cache: Any = None
    read = backend._prompts.encode(request)
    for t, token in enumerate(trace.ids.tolist()):
        ids = torch.tensor([read], device=device_of(model))
        with torch.no_grad():
            out = model(input_ids=ids, past_key_values=cache, use_cache=True, return_dict=True)
        row = out.logits[:, -1].float()
        chosen = torch.tensor([token], device=row.device)
        started = time.perf_counter()
        reducer.rows_of(row, chosen)  # right after a pass, when the caches are as cold as in use
        reducing.append(time.perf_counter() - started)
        largest = max(largest, difference(trace, t, row[0].cpu().double().numpy()))
        cache, read = out.past_key_values, [token]
    return SelfCheck(len(trace), largest, median(reducing), token_s)
