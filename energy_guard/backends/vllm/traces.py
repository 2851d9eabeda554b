"""From what vLLM returns to a `Trace`, if its workers ran with `extension.RowNumbers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from energy_guard.backends.vllm.extension import NUMBERS
from energy_guard.errors import EngineError
from energy_guard.trace import FinishReason, Trace

EXTENSION: Final = "energy_guard.backends.vllm.extension.RowNumbers"
"""What `LLM(worker_extension_cls=…)` takes."""

ASKED: Final = {"logprobs": NUMBERS, "flat_logprobs": True}
"""What `SamplingParams` need beside the user's own."""


def trace_of(answer: Any, piece: Callable[[int], bytes], *, prompt_tokens: int = 0) -> Trace:
    """Return the trace of one answer.

    The row after the last token is not there, so that the last token has no energies that need it.

    Args:
        answer: a `CompletionOutput` of vLLM, asked for with `ASKED`.
        piece: the bytes that a token stands for; none for a control token.
        prompt_tokens: how many there were.

    Raises:
        EngineError: the numbers are not there, or a grammar had ruled tokens out of the rows.
    """
    ids = np.array(answer.token_ids, dtype=np.int64)
    flat = answer.logprobs
    columns = np.array(getattr(flat, "logprobs", ()), dtype=np.float64)
    marks = np.array(getattr(flat, "token_ids", ()), dtype=np.int64)
    width = len(columns) // max(1, len(ids))
    if width <= NUMBERS or len(columns) != width * len(ids) or len(marks) != len(columns):
        raise _not_ours("no numbers came with the answer")
    table, marked = columns.reshape(-1, width), marks.reshape(-1, width)
    if marked[:, -NUMBERS:].any() or (marked[:, 0] != ids).any():
        raise _not_ours("what came with the answer are other tokens' log-probabilities")
    if not np.isfinite(table).all():
        raise EngineError(
            "a row had tokens ruled out, or no finite numbers",
            "Ask without a grammar: what it leaves of a row is not what the model computed.",
        )
    partition, mean, entropy, margin = (
        np.ascontiguousarray(table[:, at]) for at in range(-NUMBERS, 0)
    )
    pieces = tuple(piece(int(token)) for token in ids)
    return Trace(
        ids=ids,
        pieces=pieces,
        token_logit=np.ascontiguousarray(table[:, 0]),
        log_partition=partition,
        row_mean=mean,
        entropy=entropy,
        margin=margin,
        content_bytes=_content_bytes(answer, pieces),
        finish_reason=_reason(answer),
        prompt_tokens=prompt_tokens,
    )


def _content_bytes(answer: Any, pieces: tuple[bytes, ...]) -> int:
    """How many bytes are content: vLLM leaves a stop string out of the text, and not out of ids."""
    if isinstance(answer.stop_reason, str):
        return len(answer.text.encode())
    return sum(map(len, pieces))


def _reason(answer: Any) -> FinishReason:
    if answer.finish_reason == "length":
        return "length"
    if answer.finish_reason == "stop":
        return "stop" if isinstance(answer.stop_reason, str) else "eos"
    return "cancelled"


def _not_ours(what: str) -> EngineError:
    return EngineError(
        what,
        f'Start vLLM with worker_extension_cls="{EXTENSION}" and logprobs_mode="raw_logits" (on a '
        "GPU with VLLM_USE_V2_MODEL_RUNNER=0), and ask with logprobs=4 and flat_logprobs=True.",
    )
