"""Runs in the workers of vLLM's own server: whoever asks for 25 log-probabilities gets the numbers.

All other clients see what they would see without it: the server's log-probabilities stay what they
are, and the numbers of a row come in the last columns, behind the twenty likeliest tokens. vLLM
does not promise the functions that are replaced here: whoever reads the numbers checks them.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.transformers.reduce import reduce_rows
from energy_guard.backends.vllm.handshake import GATHERS, another_signature
from energy_guard.backends.vllm.second_runner import replace_scores

if TYPE_CHECKING:
    from torch import Tensor

PATH: Final = "/energy_guard"
"""Where the server tells of itself, below /v1, where its key is asked for."""

LISTED: Final = 20
"""How many of the likeliest tokens stand in front of the numbers."""

NUMBERS: Final = 4
"""Columns that are ours: log-partition, row mean, entropy and margin."""

ASKED: Final = LISTED + NUMBERS + 1
"""How many log-probabilities one has to ask for. The last one repeats the chosen token, so that a
list which begins with that token has room for the numbers, whether or not it is a likely one."""


MARK: Final = "energy_guard"
"""The field of a request, which vLLM passes over, without which nobody gets the numbers."""


class SharedRowNumbers:
    """What vLLM mixes into its worker; that it is there is all it is for."""


def with_numbers(rows: Tensor, largest: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gather the likeliest tokens of each row, and its numbers.

    The server keeps one number a token id, and shows the token's text beside it: so the numbers
    stand at the smallest ids that the row does not list anyway.

    A row in which tokens are ruled out is not the model's any more: its numbers are −inf, which
    the server writes as -9999. It cannot write NaN.

    Args:
        rows: shape (N, vocabulary), float32, log-probabilities.
        largest: shape (N,), the largest logit of each row, of which they were made.
        chosen: shape (N,), token ids.

    Returns:
        Token ids and values, both (N, 1 + `ASKED`); the ranks of the chosen tokens, (N,).
    """
    import torch

    likeliest, ids = rows.topk(LISTED, dim=-1)
    numbers = reduce_rows(rows)
    numbers[:, :2] += (largest - likeliest[:, 0])[:, None]  # what the softmax took off each logit
    numbers[rows.isneginf().any(-1)] = -math.inf
    at = chosen[:, None]
    listed = torch.cat((at, ids), dim=1)
    candidates = torch.arange(LISTED + 1 + NUMBERS, device=rows.device)
    taken = (candidates[None, :, None] == listed[:, None, :]).any(-1)
    places = torch.sort(taken.to(torch.uint8), dim=1, stable=True).indices[:, :NUMBERS]
    own = rows.gather(-1, at)
    ranks = (rows >= own).sum(-1)
    indices = torch.cat((listed, places, at), dim=1).to(torch.int32)
    return indices, torch.cat((own, likeliest, numbers, own), dim=1), ranks


def replace_functions(sampler: Any, tensors: Any) -> None:
    """Have a sampler class remember the largest logits, and send the numbers to who asks for them.

    Other functions than the known ones are left alone: an error here would end the engine for all
    clients, and whoever reads the numbers finds that there are none.

    Args:
        sampler: vLLM's class.
        tensors: its tuple of what is gathered.
    """
    compute, gather = sampler.compute_logprobs, sampler.gather_logprobs
    if another_signature(compute, ["logits"]) or another_signature(gather, GATHERS):
        return

    def compute_logprobs(logits: Tensor) -> Tensor:
        found: Tensor = compute(logits)
        found.largest = logits.amax(-1).float()  # type: ignore[attr-defined]
        return found

    def gather_logprobs(logprobs: Tensor, num_logprobs: int, token_ids: Tensor) -> Any:
        largest = getattr(logprobs, "largest", None)
        if num_logprobs != ASKED or largest is None:
            return gather(logprobs, num_logprobs, token_ids)
        return tensors(*with_numbers(logprobs, largest, token_ids))

    sampler.compute_logprobs = staticmethod(compute_logprobs)
    sampler.gather_logprobs = staticmethod(gather_logprobs)


def of_logits(logits: Tensor, _count: int, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gather what a V2 runner sends of each row, which it hands over as logits; see above."""
    return with_numbers(logits.log_softmax(-1), logits.amax(-1), chosen)


if "vllm" in sys.modules:  # a worker imports this; whoever looks at it without vLLM may, too
    from vllm.v1.outputs import LogprobsTensors
    from vllm.v1.sample.sampler import Sampler
    from vllm.v1.worker.gpu.sample import logprob

    replace_functions(Sampler, LogprobsTensors)
    replace_scores(
        logprob,
        LogprobsTensors,
        wanted=lambda count, logits_asked: not logits_asked and count == ASKED,
        gather=of_logits,
    )
