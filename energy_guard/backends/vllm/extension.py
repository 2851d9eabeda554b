"""Runs in vLLM's workers: reduces each raw row, and sends the numbers with its log-probabilities.

`LLM(…, worker_extension_cls="energy_guard.backends.vllm.extension.RowNumbers",
logprobs_mode="raw_logits")` has a worker import this module, which replaces the one function that
gathers log-probabilities of answers and prompts. vLLM does not promise that function: what comes
out is marked, and `traces` refuses what is not.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.transformers.reduce import reduce_rows

if TYPE_CHECKING:
    from torch import Tensor

NUMBERS: Final = 4
"""Columns that are ours: log-partition, row mean, entropy and margin, the last ones of a row. As
token ids they all have 0, which no row of vLLM's own has four times."""


class RowNumbers:
    """What vLLM mixes into its worker; that it is there is all it is for."""


def with_numbers(rows: Tensor, count: int, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gather what vLLM sends of each row, with our numbers in the place of the last columns.

    A row in which a grammar has ruled tokens out is not the model's any more: its numbers are NaN.

    Args:
        rows: shape (N, vocabulary), float32, raw logits.
        count: how many columns are wanted beside the chosen token's, at least `NUMBERS`.
        chosen: shape (N,), token ids.

    Returns:
        Token ids and values, both (N, 1 + count); the ranks of the chosen tokens, (N,).
    """
    import torch

    numbers = reduce_rows(rows)
    numbers[rows.isneginf().any(-1)] = math.nan
    likeliest, ids = rows.topk(count - NUMBERS, dim=-1)
    at = chosen[:, None]
    logits = rows.gather(-1, at)
    ranks = (rows >= logits).sum(-1)
    marks = at.new_zeros(len(at), NUMBERS)
    indices = torch.cat((at, ids, marks), dim=1).to(torch.int32)
    return indices, torch.cat((logits, likeliest, numbers), dim=1), ranks


def replace_gathering(sampler: Any, tensors: Any) -> None:
    """Put `with_numbers` in the place of what a sampler class gathers, if enough is asked for.

    Args:
        sampler: vLLM's class.
        tensors: its tuple of what is gathered.
    """
    before = sampler.gather_logprobs

    def gather_logprobs(logprobs: Tensor, num_logprobs: int, token_ids: Tensor) -> Any:
        if num_logprobs < NUMBERS:
            return before(logprobs, num_logprobs, token_ids)
        return tensors(*with_numbers(logprobs, num_logprobs, token_ids))

    sampler.gather_logprobs = staticmethod(gather_logprobs)


if "vllm" in sys.modules:  # a worker imports this; whoever looks at it without vLLM may, too
    from vllm.v1.outputs import LogprobsTensors
    from vllm.v1.sample.sampler import Sampler

    replace_gathering(Sampler, LogprobsTensors)
