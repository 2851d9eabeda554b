"""Runs in the workers of vLLM's V2 model runner, which gathers rows by a function of a module.

Other modules have taken that function by its name: it is replaced in all of them. It belongs to
no sampler, so whoever steps a runner says by what its rows are multiplied.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.vllm.handshake import another_signature

if TYPE_CHECKING:
    from torch import Tensor

SCORES: Final = "compute_topk_scores"

TAKES: Final = (
    *("logits", "num_logprobs", "sampled_token_ids", "cu_num_logits", "logprob_token_ids_state"),
    *("expanded_idx_mapping", "max_per_req_token_ids", "logits_mode"),
)
"""Parameters of vLLM's function of that name, which is replaced."""

ROWS_AT_ONCE: Final = 128
"""vLLM hands over a thousand rows of a prompt, and has counted on no copies of them: of so many,
with 150,000 tokens, one takes 77 MB."""


class _Multiplied(threading.local):
    """By what the rows are multiplied of the runner that a thread is stepping."""

    inverse_temperature = 1.0


of_thread: Final = _Multiplied()


def multiply(runner: Any, inverse_temperature: float) -> None:
    """Multiply the rows of one runner from now on by a number before they are reduced."""
    vars(runner).pop("sample_tokens", None)
    if inverse_temperature == 1.0:
        return
    right = runner.sample_tokens

    def sample_tokens(*given: Any) -> Any:
        of_thread.inverse_temperature = inverse_temperature
        try:
            return right(*given)
        finally:
            of_thread.inverse_temperature = 1.0

    runner.sample_tokens = sample_tokens


def replace_scores(
    module: Any,
    tensors: Any,
    wanted: Callable[[int, bool], bool],
    gather: Callable[[Tensor, int, Tensor], tuple[Tensor, Tensor, Tensor]],
) -> str:
    """Put `gather` in the place of what vLLM's function does, wherever that has been imported.

    A batch in which somebody asks for the scores of tokens by name stays vLLM's: their columns
    would lie in ours.

    Args:
        module: vLLM's, in which the function is.
        tensors: its tuple of what is gathered.
        wanted: whether to do it for so many columns, of logits or of log-probabilities.
        gather: makes of float32 logits (N, vocabulary), of a number of columns and of the chosen
            tokens (N,): token ids and values, (N, 1 + columns), and ranks of the chosen, (N,).

    Returns:
        How the function is called if that is not as it was verified: it is left alone then. Else
        "".
    """
    before = getattr(module, SCORES)
    if signature := another_signature(before, TAKES):
        return signature

    def compute_topk_scores(
        logits: Tensor,
        num_logprobs: int,
        sampled_token_ids: Tensor,
        cu_num_logits: Any = None,
        logprob_token_ids_state: Any = None,
        expanded_idx_mapping: Tensor | None = None,
        max_per_req_token_ids: int = 0,
        logits_mode: bool = False,
    ) -> Any:
        if max_per_req_token_ids or not wanted(num_logprobs, logits_mode):
            return before(
                *(logits, num_logprobs, sampled_token_ids, cu_num_logits),
                *(logprob_token_ids_state, expanded_idx_mapping),
                *(max_per_req_token_ids, logits_mode),
            )
        import torch

        rows = torch.split(logits, ROWS_AT_ONCE)
        chosen = torch.split(sampled_token_ids, ROWS_AT_ONCE)
        parts = zip(rows, chosen, strict=True)
        gathered = [gather(part.float(), num_logprobs, tokens) for part, tokens in parts]
        ids, values, ranks = (torch.cat(part) for part in zip(*gathered, strict=True))
        counts = (
            (None, cu_num_logits)
            if isinstance(cu_num_logits, torch.Tensor)
            else (cu_num_logits, None)
        )
        return tensors(ids.to(sampled_token_ids.dtype), values, ranks, *counts)

    for other in list(sys.modules.values()):
        if getattr(other, "__dict__", {}).get(SCORES) is before:
            setattr(other, SCORES, compute_topk_scores)
    return ""
