"""Requests → what vLLM is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from energy_guard.backends.vllm.columns import ASKED, NUMBERS, OURS
from energy_guard.errors import InputError
from energy_guard.request import Request, Sampling


def check_request(request: Request, vocabulary_size: int) -> None:
    """Raise InputError for what vLLM has no means for, be an answer written or read.

    Args:
        request: what is asked.
        vocabulary_size: how many tokens a row has.
    """
    if request.alternatives + NUMBERS >= vocabulary_size:
        raise InputError(
            f"alternatives is {request.alternatives}, and a row has {vocabulary_size} tokens",
            f"Ask for at most {vocabulary_size - NUMBERS - 1}.",
        )


def check_drawing(sampling: Sampling, *, seeds: bool) -> None:
    """Raise InputError for settings by which vLLM cannot draw an answer; none is drawn in reading.

    Args:
        sampling: what is asked.
        seeds: whether answers can be drawn by a seed.
    """
    if sampling.mirostat_mode:
        raise InputError("mirostat needs llama.cpp", "Use temperature, top_p or min_p here.")
    if sampling.seed is not None and sampling.temperature > 0 and not seeds:
        raise InputError(
            "vLLM fails on a CPU if an answer has a seed and its prompt is read in parts",
            "Start the engine with enable_chunked_prefill=False, or leave the seed out.",
        )


def written_by(
    request: Request,
    limit: int,
    *,
    ends: Sequence[int],
    size: int,
    grammar: str,
    alternatives: int,
) -> dict[str, Any]:
    """Return the `SamplingParams` for an answer to be written, with one token beyond its limit.

    That token is dropped: its row is the one after the last token.

    Args:
        request: what is asked.
        limit: the most tokens of the answer.
        ends: tokens that end it.
        size: how many tokens a row has.
        grammar: what it has to follow, in llguidance's form; empty if it is free.
        alternatives: how many of the likeliest tokens all requests of a batch are sent with: vLLM
            gathers as many for one as for all, and our numbers stand behind them.
    """
    sampling = request.sampling
    steered = {"grammar": grammar, "ends": list(ends), "size": size} | _steered(sampling)
    return _shared(limit, alternatives) | {
        "temperature": float(sampling.temperature),
        "seed": sampling.seed if sampling.temperature > 0 else None,
        "stop_token_ids": list(ends),
        "extra_args": {OURS: steered},
    }


def forced_to(answer: Sequence[int], alternatives: int) -> dict[str, Any]:
    """Return the `SamplingParams` for an answer that exists, to be written once more."""
    steered = {"grammar": "", "ends": [], "size": 0} | _steered(Sampling())
    steered["forced"] = list(answer)
    return _shared(len(answer), alternatives) | {"extra_args": {OURS: steered}}


def read_at_once(alternatives: int) -> dict[str, Any]:
    """Return the `SamplingParams` for a prompt that has the answer in it already."""
    return _shared(0, alternatives) | {"prompt_logprobs": NUMBERS + alternatives}


def whole_row() -> dict[str, Any]:
    """Return the `SamplingParams` for the whole row after a prompt."""
    return _shared(0, 0) | {"logprobs": -1}


def _shared(limit: int, alternatives: int) -> dict[str, Any]:
    return ASKED | {
        "logprobs": NUMBERS + alternatives,
        "max_tokens": limit + 1,
        "temperature": 0.0,
        "ignore_eos": True,  # the tokens that end an answer are given
        "detokenize": False,
    }


def _steered(sampling: Sampling) -> dict[str, Any]:
    """Settings as plain data, as they travel to the workers."""
    settings = asdict(sampling)
    bias = settings.pop("logit_bias")
    return {"sampling": settings, "logit_bias": list(bias.items()), "forced": []}
