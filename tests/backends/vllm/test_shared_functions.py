"""What replaces vLLM's functions, without vLLM: on functions of its signatures, and of others."""

from __future__ import annotations

import math
from typing import Any

import torch

from energy_guard.backends.vllm.shared_numbers import ASKED, NUMBERS, replace_functions


def sampler(gather: Any) -> Any:
    def compute_logprobs(logits: torch.Tensor) -> torch.Tensor:
        return logits.log_softmax(-1)

    functions = {"compute_logprobs": compute_logprobs, "gather_logprobs": gather}
    return type("Sampler", (), {name: staticmethod(each) for name, each in functions.items()})


def known(logprobs: Any, num_logprobs: int, token_ids: Any) -> str:
    return "vLLM's"


def test_functions_of_another_signature_are_left_alone() -> None:
    def newer(logprobs: Any, num_logprobs: int, token_ids: Any, logprob_token_ids: Any) -> str:
        return "vLLM's"

    other = sampler(newer)
    before = dict(vars(other))
    replace_functions(other, lambda *found: found)
    assert dict(vars(other)) == before
    replace_functions(ours := sampler(known), lambda *found: found)
    assert ours.gather_logprobs is not known


def test_a_row_with_tokens_ruled_out_has_no_numbers_and_the_others_have() -> None:
    replace_functions(ours := sampler(known), lambda *found: found)
    logits = torch.randn(2, 300, generator=torch.Generator().manual_seed(0))
    logits[0, 7] = -math.inf
    rows = ours.compute_logprobs(logits)
    assert ours.gather_logprobs(rows, ASKED - 1, logits.argmax(-1)) == "vLLM's"
    _, values, _ = ours.gather_logprobs(rows, ASKED, logits.argmax(-1))
    numbers = values[:, -NUMBERS - 1 : -1]
    assert numbers[0].tolist() == [-math.inf] * NUMBERS
    torch.testing.assert_close(
        numbers[1, :2], torch.stack((logits[1].logsumexp(-1), logits[1].mean()))
    )
