"""Numbers of transformers models computed a second time: whole passes without a cache, float64."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from reference import measure
from tiny_models import byte_tokenizer, tiny_model

from energy_guard import Trace, capture
from energy_guard.trace import SIGNALS

ROWS = ("log_partition", "row_mean")
TOKENIZER = byte_tokenizer()
PAD = 0

SHORT = [12, 101, 33]
LONGER = [*range(60, 78)]
LONG = [(7 * i) % 251 for i in range(30)]
"""Longer than the sliding windows of the tiny models."""
PROMPTS = [SHORT, LONG, LONGER]


@cache
def model_of(family: str) -> Any:
    return tiny_model(family)


def padded(prompts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Prompts as one batch with padding on the left."""
    width = max(map(len, prompts))
    return {
        "input_ids": torch.tensor([[PAD] * (width - len(p)) + list(p) for p in prompts]),
        "attention_mask": torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
    }


def written(model: Any, prompts: Sequence[Sequence[int]], **options: Any) -> Any:
    """What `generate` returns for a batch of prompts: greedy, ten tokens, unless told otherwise."""
    torch.manual_seed(5)
    defaults = {"max_new_tokens": 10, "do_sample": False, "pad_token_id": PAD, "eos_token_id": None}
    return model.generate(**padded(prompts), **(defaults | options))


def captured(
    model: Any, prompts: Sequence[Sequence[int]], **options: Any
) -> tuple[Any, list[Trace]]:
    """The same call inside a capture, with the raw rows that transformers itself keeps."""
    kept = {"output_logits": True, "return_dict_in_generate": True}
    with capture((model, TOKENIZER)) as traces:
        out = written(model, prompts, **(kept | options))
    return out, traces


def rows_of(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> Any:
    """The row before each token of the answer and the one after it, in float64."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits
    return logits[0, len(prompt) - 1 :].double().numpy()


def assert_teacher_forced(
    model: Any, prompt: Sequence[int], trace: Trace, within: float = 1e-4
) -> None:
    """Every number of the trace is that of one whole pass over prompt and answer."""
    ids = trace.ids.tolist()
    assert trace.prompt_tokens == len(prompt)
    assert_numbers(trace, rows_of(model, prompt, ids)[: len(trace.log_partition)], within)


def assert_output_logits(trace: Trace, out: Any, row: int, within: float = 1e-5) -> None:
    """Every number of the trace is that of the raw rows which `generate` returned."""
    kept = [step[row].double().numpy() for step in out.logits]
    assert_numbers(trace, kept[: len(trace.log_partition)], within)


def assert_numbers(trace: Trace, rows: Sequence[Any], within: float) -> None:
    """All signals; `within` of each number's size, of at least one nat."""
    count = len(trace)
    assert count <= len(rows) <= count + 1
    after = list(rows[count:]) or [np.full_like(rows[0], np.nan)]  # then the last token has none
    expected = measure([*rows[:count], *after], trace.ids.tolist())
    for name in (*ROWS, *SIGNALS):
        ours, theirs = getattr(trace, name), np.array(expected[name])
        known = np.isfinite(theirs)
        assert known.sum() >= len(rows) - 1
        ours = np.append(ours, [np.nan] * (len(theirs) - len(ours)))
        off = np.abs(ours - theirs)[known] / np.maximum(1.0, np.abs(theirs[known]))
        assert np.all(off <= within), f"{name} off by up to {off.max()} at token {off.argmax()}"
