"""Is this an engine whose numbers are what they should be? Asked once, before anything else.

vLLM promises nothing of what the numbers travel in. So its version, its configuration, what its
workers say and one row are looked at, and whatever is not as it was verified is refused by name.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from energy_guard.backends.vllm.columns import EXTENSION, STEERING
from energy_guard.backends.vllm.params import read_at_once
from energy_guard.backends.vllm.traces import choices_of
from energy_guard.energy import RowReducer, holds_log_probabilities
from energy_guard.errors import ConfigError, EngineError, InputError

TRIED: Final = ("0.32",)
"""Versions that `make test-vllm` was run with."""

TOLERANCE: Final = 1e-3
"""By how much a number may differ from that of the whole row, as a share of it and in nats."""

STEPS: Final = 4
"""By how many steps between neighbouring logits a number may differ in 16 bits: 0.38 was seen in
bfloat16, in which logits of 16 to 32 are 0.125 apart."""

GATHERS: Final = ("logprobs", "num_logprobs", "token_ids")
"""Parameters of vLLM's function that gathers log-probabilities, which is replaced."""

_START: Final = "Start it so: LLM(model, **energy_guard.backends.vllm.ENGINE_ARGUMENTS)."
_ANOTHER: Final = (
    "Set VLLM_USE_V2_MODEL_RUNNER=0 before vLLM is started, if it is not set: vLLM has two model "
    "runners. Or use another version of vLLM, or the transformers backend."
)


def check_version(version: str) -> None:
    """Raise ConfigError for a version of vLLM that was not tried."""
    if ".".join(version.split(".")[:2]) not in TRIED:
        raise ConfigError(
            f"vLLM {version} was not tried with this package: {', '.join(TRIED)} was",
            "Install that one.",
        )


def another_signature(function: Callable[..., Any], takes: Sequence[str]) -> str:
    """Return how a function is called if that is not as it was verified; "" if it is.

    Args:
        function: one of vLLM's that is to be replaced.
        takes: the names of its parameters.

    >>> another_signature(lambda logits, mode: logits, ["logits"])
    '<lambda>(logits, mode)'
    """
    found = list(inspect.signature(function).parameters)
    return "" if found == list(takes) else f"{function.__name__}({', '.join(found)})"


def check_config(config: Any) -> None:
    """Raise ConfigError for an engine that was started otherwise than verified.

    Args:
        config: its `VllmConfig`.
    """
    model, parallel = config.model_config, config.parallel_config
    if model.runner_type != "generate" or model.is_encoder_decoder:
        raise InputError(
            f"{model.model} writes no text by itself, token by token", "Load a decoder-only model."
        )
    if config.speculative_config is not None:
        raise ConfigError(
            "speculative decoding is not supported: vLLM then takes no logits processors, by which "
            "sampling settings, grammars and replays are done here",
            "Start it without speculative_config.",
        )
    if parallel.pipeline_parallel_size > 1 or parallel.data_parallel_size > 1:
        raise ConfigError(
            "pipeline and data parallelism were not verified",
            "Start it with pipeline_parallel_size=1 and data_parallel_size=1.",
        )
    if config.scheduler_config.async_scheduling:
        raise ConfigError(
            "asynchronous scheduling was not verified: a token's settings are then applied while "
            "the one before it is still on its way",
            "Start it with async_scheduling=False, as ENGINE_ARGUMENTS have it.",
        )
    if config.watermark_config is not None or config.diffusion_config is not None:
        raise ConfigError(
            "watermarks and diffusion were not verified: tokens are then drawn in another way",
            "Start it without watermark_config, with a model that writes one token after another.",
        )
    wrong = [
        what
        for what, right in {
            f"worker_extension_cls is {parallel.worker_extension_cls!r}": (
                parallel.worker_extension_cls == EXTENSION
            ),
            "logits_processors lack ours": STEERING in (model.logits_processors or ()),
            f"logprobs_mode is {model.logprobs_mode!r}": model.logprobs_mode == "raw_logits",
            f"max_logprobs is {model.max_logprobs}": model.max_logprobs == -1,
        }.items()
        if not right
    ]
    if wrong:
        raise ConfigError(f"the engine was not started for this: {'; '.join(wrong)}", _START)


def check_workers(states: list[dict[str, str]]) -> str:
    """Return the kind of device that workers compute on.

    Args:
        states: what each of them says, see `RowNumbers`.

    Raises:
        EngineError: a worker has not replaced the function that gathers rows.
    """
    for state in states:
        if state["signature"]:
            raise EngineError(
                f"vLLM gathers rows by another function than the known one: {state['signature']}",
                _ANOTHER,
            )
    return states[0]["device"]


def check_rows(engine: Any, prompt: list[int]) -> None:
    """Hold the numbers that come with a token against the whole row that vLLM itself sends.

    Args:
        engine: an `VllmEngine`.
        prompt: token ids, at least two.

    Raises:
        EngineError: they are not those of this row.
        ConfigError: the rows are log-probabilities.
    """
    from energy_guard.backends.vllm.session import row_after

    row = row_after(engine, prompt)
    output = engine.answer_of(prompt, read_at_once(0))
    (after,) = choices_of(output.outputs[0].logprobs, output.outputs[0].token_ids)
    (before,) = choices_of(output.prompt_logprobs[len(prompt) - 1 :], prompt[-1:])
    for choice, raw in ((after, row), (before, row_after(engine, prompt[:-1]))):
        reducer = RowReducer(raw.size, np.float64)
        expected = (float(raw[choice.token]), *reducer.reduce(raw.astype(np.float64)))
        if holds_log_probabilities(raw, expected[1]):
            raise ConfigError("vLLM's rows are log-probabilities, and no raw logits", _START)
        found = (choice.token_logit, *choice.row)
        share, nats = tolerances(engine.llm.model_config.dtype, float(raw.max()))
        if not np.allclose(found, expected, rtol=share, atol=nats):
            raise EngineError(
                f"the numbers of a row are {_shown(found)}, and should be {_shown(expected)}",
                _ANOTHER,
            )
    _, nats = tolerances(engine.llm.model_config.dtype, float(row.max()))
    if row[after.token] < row.max() - nats:  # of two that tie, either is right
        raise EngineError("a greedy answer does not begin with its row's likeliest token", _ANOTHER)


def tolerances(dtype: Any, largest: float) -> tuple[float, float]:
    """Return by how much a number may be off: as a share of it, and in nats.

    Rows of one prompt differ from one time to the next, in 16 bits by whole steps between
    neighbouring logits.

    Args:
        dtype: of the rows, PyTorch's.
        largest: logit of the row.

    >>> import torch
    >>> tolerances(torch.float32, 20.0)
    (0.001, 0.001)
    >>> tolerances(torch.bfloat16, 20.0)  # neighbours are 0.125 apart
    (0.05, 0.5)
    """
    import torch

    share = TOLERANCE if dtype == torch.float32 else 0.05
    _, exponent = math.frexp(largest)
    step = torch.finfo(dtype).eps * 2.0 ** (exponent - 1)
    return share, max(share, STEPS * step)


def _shown(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:.4f}" for number in numbers)
