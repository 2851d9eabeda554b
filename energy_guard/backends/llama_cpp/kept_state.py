"""What a context holds, put back as it was after other prompts were read in it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from energy_guard.backends.llama_cpp.prompt_cache import ReadPrompt, taken
from energy_guard.backends.llama_cpp.tap import check_open

if TYPE_CHECKING:
    from llama_cpp import Llama


@contextmanager
def as_found(llm: Llama) -> Iterator[None]:
    """Put back what lies in the context, as bytes: nothing of it is read a second time.

    What lies there can be used inside, too. A context that cannot be put back is emptied.
    """
    check_open(llm)
    last, count = taken(llm), llm.n_tokens
    ids, state = llm.input_ids[:count].copy(), _saved(llm)
    last.keep(llm)
    try:
        yield
    finally:
        if llm._ctx.ctx is not None:  # whoever closed the engine gets an error from its next use
            if not _put_back(llm, state):
                last, count = ReadPrompt([], None), 0
            llm.n_tokens = count
            llm.input_ids[:count] = ids[:count]
            last.keep(llm)


def _saved(llm: Llama) -> ctypes.Array[ctypes.c_uint8]:
    from llama_cpp import llama_state_seq_get_data, llama_state_seq_get_size

    size = llama_state_seq_get_size(llm.ctx, 0)
    state: ctypes.Array[ctypes.c_uint8] = (ctypes.c_uint8 * size)()
    llama_state_seq_get_data(llm.ctx, state, size, 0)
    return state


def _put_back(llm: Llama, state: ctypes.Array[ctypes.c_uint8]) -> bool:
    from llama_cpp import llama_state_seq_set_data

    llm._ctx.kv_cache_seq_rm(-1, 0, -1)
    return bool(llama_state_seq_set_data(llm.ctx, state, len(state), 0))
