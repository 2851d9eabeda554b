"""Requests' sampling settings and constraints → arguments of `Llama.generate`."""

from __future__ import annotations

from typing import Any

from energy_guard.backends.constraint import Matcher
from energy_guard.backends.llama_cpp.constrain import masking
from energy_guard.request import Request, Sampling


def generate_options(request: Request, matcher: Matcher | None = None) -> dict[str, Any]:
    """Return keyword arguments.

    matcher: what the answer has to follow; whoever generates takes every token to it.
    """
    sampling = request.sampling
    return {
        "temp": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "typical_p": sampling.typical_p,
        "repeat_penalty": sampling.repeat_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "mirostat_mode": sampling.mirostat_mode,
        "mirostat_tau": sampling.mirostat_tau,
        "mirostat_eta": sampling.mirostat_eta,
        "logits_processor": _processors(sampling, matcher),
    }


def _processors(sampling: Sampling, matcher: Matcher | None) -> Any:
    """What changes the sampler's copy of the row; the raw row stays as it is."""
    from llama_cpp import LogitsProcessorList

    def add_bias(_ids: Any, row: Any) -> Any:
        for token, value in sampling.logit_bias.items():
            row[token] += value
        return row

    chain: list[Any] = [add_bias] if sampling.logit_bias else []
    if matcher is not None:
        chain.append(masking(matcher))  # the last: no bias allows what the constraint forbids
    return LogitsProcessorList(chain) if chain else None
