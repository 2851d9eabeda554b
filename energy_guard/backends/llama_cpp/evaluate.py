"""Decoding given tokens on a `llama_cpp.Llama`, and stopping it while it decodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from energy_guard.backends.llama_cpp.interrupts import held_back
from energy_guard.backends.llama_cpp.logs import listening
from energy_guard.backends.llama_cpp.tap import check_open, current_row
from energy_guard.errors import EngineError

if TYPE_CHECKING:
    from llama_cpp import Llama


def decode_tokens(llm: Llama, ids: list[int]) -> None:
    """Append tokens to the context; EngineError if llama.cpp fails."""
    check_open(llm)
    with engine_failures():
        llm.eval(ids)


def rows_after(llm: Llama, ids: list[int], batch: int) -> Iterator[npt.NDArray[np.float32]]:
    """Append tokens, `batch` at a time, and yield the raw row after each.

    A row is a view that is valid until the next batch: memory is bounded by the batch.
    """
    for start in range(0, len(ids), batch):
        part = ids[start : start + batch]
        check_open(llm)
        if len(part) == 1:
            decode_tokens(llm, part)
            yield current_row(llm)
            continue
        with engine_failures():
            _decode_with_all_rows(llm, part)
        for back in range(-len(part), 0):
            yield current_row(llm, back)


def _decode_with_all_rows(llm: Llama, ids: list[int]) -> None:
    """What `Llama.eval` does, with a row for every token without keeping them all."""
    at = llm.n_tokens
    llm._ctx.kv_cache_seq_rm(-1, at, -1)
    llm._batch.set_batch(batch=ids, n_past=at, logits_all=True)
    llm._ctx.decode(llm._batch)
    llm.input_ids[at : at + len(ids)] = ids
    llm.n_tokens = at + len(ids)


@contextmanager
def engine_failures() -> Iterator[None]:
    """Turn llama-cpp-python's RuntimeError into an EngineError that says what to do."""
    try:
        yield
    except RuntimeError as error:
        raise failed(error) from error


def failed(error: RuntimeError) -> EngineError:
    """Return what is raised for an error of llama-cpp-python."""
    return EngineError(
        f"llama.cpp failed while it evaluated tokens: {error}",
        "Run `energy-guard doctor` with this model; a smaller n_ctx or n_batch may help.",
    )


@contextmanager
def abortable(llm: Llama, interrupted: Callable[[], bool]) -> Iterator[None]:
    """Let `interrupted` end a long decode from inside, and swallow the failure that it causes.

    llama.cpp asks between the nodes of its graph, on the CPU only; that costs too much for
    single tokens, so this is for prompts. Ctrl-C ends it, too, and is raised.
    """
    from llama_cpp import ggml_abort_callback, llama_set_abort_callback

    check_open(llm)
    with held_back() as ctrl_c:

        def over() -> bool:
            return ctrl_c() or interrupted()

        asked = ggml_abort_callback(lambda _data: over())
        llama_set_abort_callback(llm.ctx, asked, None)
        try:
            with listening(lambda _level, _text: over()):  # it reports the abort as an error
                yield
        except EngineError:
            if not over():
                raise
        finally:
            llama_set_abort_callback(llm.ctx, ggml_abort_callback(), None)
