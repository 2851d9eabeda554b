"""From what vLLM returns to rows and traces, if its workers ran with `extension.RowNumbers`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from energy_guard.backends.vllm.columns import NUMBERS
from energy_guard.energy import Row
from energy_guard.errors import EngineError
from energy_guard.likeliest import Likeliest
from energy_guard.trace import FinishReason, Trace


class ChosenRow(NamedTuple):
    """A chosen token with its logit, the numbers of its row, and the row's likeliest tokens."""

    token: int
    token_logit: float
    row: Row
    likeliest: Likeliest


def choices_of(flat: Any, ids: Sequence[int]) -> Iterator[ChosenRow]:
    """Yield what is known of each token.

    Args:
        flat: vLLM's `FlatLogprobs` of these tokens.
        ids: the tokens that were chosen.

    Raises:
        EngineError: the numbers are not there, or a grammar had ruled tokens out of the rows.
    """
    table, marked = _tables(flat, ids)
    for token, values, of in zip(ids, table.tolist(), marked.tolist(), strict=True):
        partition, mean, entropy, margin = values[-NUMBERS:]
        likeliest = tuple(zip(of[1:-NUMBERS], values[1:-NUMBERS], strict=True))
        yield ChosenRow(token, values[0], Row(partition, mean, entropy, margin), likeliest)


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
    table, _ = _tables(answer.logprobs, answer.token_ids)
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


def _tables(flat: Any, ids: Sequence[int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Values and token ids, a line a token; EngineError where they are not what was asked for."""
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
            "Ask without a grammar of vLLM's own: what it leaves of a row is not what the model "
            "computed. A `constraint` of `Request` leaves the row as it is.",
        )
    return table, marked


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
        "Start vLLM with **energy_guard.backends.vllm.ENGINE_ARGUMENTS, and ask with logprobs=4 "
        "and flat_logprobs=True.",
    )
