"""How the next token is chosen: requests' sampling settings as logits processors.

The chain is llama.cpp's, in its order, so that a setting means the same on every backend. The
last link draws the token from a random generator of its own, one a sequence: an answer depends
on its seed alone, not on its batch, and the caller's random state is left as it was.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from energy_guard.errors import InputError
from energy_guard.request import Request, Sampling

if TYPE_CHECKING:
    from torch import Tensor

_LEAST: Final = 1e-9


def check_request(request: Request) -> None:
    """Raise InputError for what transformers has no means for."""
    if request.sampling.mirostat_mode:
        raise InputError("mirostat needs llama.cpp", "Use temperature, top_p or min_p here.")


def processors(samplings: Sequence[Sampling], prompt_tokens: int) -> list[Any]:
    """Return the chain for a batch whose settings differ in their seeds at most."""
    from transformers import TemperatureLogitsWarper

    first = samplings[0]
    chain = adjusting(first, prompt_tokens)
    if first.temperature == 0:
        return chain
    chain += cutting(first)
    chain.append(TemperatureLogitsWarper(float(first.temperature)))
    chain.append(_Draw([sampling.seed for sampling in samplings]))
    return chain


def adjusting(sampling: Sampling, prompt_tokens: int) -> list[Any]:
    """Return what moves single logits: biases and penalties."""
    chain: list[Any] = []
    if sampling.logit_bias:
        chain.append(_Bias(sampling))
    if _penalises(sampling):
        chain.append(_Penalties(sampling, prompt_tokens))
    return chain


def cutting(sampling: Sampling) -> list[Any]:
    """Return what leaves only the likelier tokens to draw from; the temperature comes after it."""
    from transformers import (
        MinPLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
        TypicalLogitsWarper,
    )

    chain: list[Any] = []
    if sampling.top_k > 0:
        chain.append(TopKLogitsWarper(sampling.top_k))
    # Beyond its range a setting leaves one token, as in llama.cpp; the warpers would refuse it.
    if sampling.typical_p < 1:
        chain.append(TypicalLogitsWarper(max(sampling.typical_p, _LEAST)))
    if sampling.top_p < 1:
        chain.append(TopPLogitsWarper(max(sampling.top_p, _LEAST)))
    if sampling.min_p > 0:
        chain.append(MinPLogitsWarper(min(sampling.min_p, 1.0)))
    return chain


class Forced:
    """Chooses given tokens, one list a sequence; what comes after a list does not matter."""

    def __init__(self, answers: Sequence[Sequence[int]], prompt_tokens: int) -> None:
        self._answers = answers
        self._prompt_tokens = prompt_tokens

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Leave only the next given token of each sequence."""
        t = ids.shape[1] - self._prompt_tokens
        given = [answer[min(t, len(answer) - 1)] for answer in self._answers]
        return _only(scores, ids.new_tensor(given)[:, None])


class _Bias:
    def __init__(self, sampling: Sampling) -> None:
        self._bias = dict(sampling.logit_bias)

    def __call__(self, _ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        for token, value in self._bias.items():
            scores[:, token] += value
        return scores


class _Penalties:
    """Repetition, frequency and presence penalties over the last 64 tokens of the answer.

    As llama.cpp counts them; transformers' own repetition penalty looks at the prompt too.
    """

    def __init__(self, sampling: Sampling, prompt_tokens: int) -> None:
        self._sampling = sampling
        self._prompt_tokens = prompt_tokens

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        import torch

        sampling = self._sampling
        recent = ids[:, self._prompt_tokens :][:, -64:]
        counts = torch.zeros_like(scores).scatter_add_(1, recent, scores.new_ones(recent.shape))
        seen = counts > 0
        repeated = torch.where(
            scores <= 0, scores * sampling.repeat_penalty, scores / sampling.repeat_penalty
        )
        penalised = repeated - counts * sampling.frequency_penalty - sampling.presence_penalty
        return torch.where(seen, penalised, scores)


class _Draw:
    """Draws from what the warpers left over."""

    def __init__(self, seeds: Sequence[int | None]) -> None:
        self._seeds = [secrets.randbits(32) if seed is None else seed for seed in seeds]
        self._generators: list[Any] = []

    def __call__(self, _ids: Tensor, scores: Tensor) -> Tensor:
        import torch

        if not self._generators:
            made = (torch.Generator(scores.device) for _ in self._seeds)
            self._generators = [g.manual_seed(s) for g, s in zip(made, self._seeds, strict=True)]
        weights = scores.softmax(-1)
        drawn = [
            torch.multinomial(row, 1, generator=generator)
            for row, generator in zip(weights, self._generators, strict=True)
        ]
        return _only(scores, torch.stack(drawn))


def _penalises(sampling: Sampling) -> bool:
    return sampling.repeat_penalty != 1 or bool(
        sampling.frequency_penalty or sampling.presence_penalty
    )


def _only(scores: Tensor, tokens: Tensor) -> Tensor:
    """Scores that leave one token a sequence, shape (N, 1)."""
    import torch

    return torch.full_like(scores, -math.inf).scatter_(1, tokens.to(scores.device), 0.0)
