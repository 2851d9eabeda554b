"""Runs in vLLM's workers: reduces each raw row, and sends the numbers with its log-probabilities.

`LLM(…, **ENGINE_ARGUMENTS)` has a worker import this module, which replaces the one function that
gathers log-probabilities of answers and prompts, that of each of vLLM's two model runners. vLLM
does not promise these functions: what comes out is marked, `traces` refuses what is not, and
`handshake` looks at it before anything is asked.
"""

from __future__ import annotations

import math
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.transformers.reduce import RowsReducer, reduce_rows
from energy_guard.backends.vllm.columns import NUMBERS
from energy_guard.backends.vllm.handshake import GATHERS, another_signature
from energy_guard.backends.vllm.second_runner import multiply, of_thread, replace_scores

if TYPE_CHECKING:
    from torch import Tensor


class _Replaced:
    """How each runner's function is called if it is not ours."""

    first = second = "vLLM is not there"


class _OfThread(threading.local):
    """A reducer for each thread: two engines of one process may be in two of them at once."""

    def __init__(self) -> None:
        self.reducer = RowsReducer()


_here: Final = _Replaced()
_of_thread: Final = _OfThread()


class RowNumbers:
    """What vLLM mixes into its worker: what an engine can ask it by `collective_rpc`."""

    def energy_guard_state(self) -> dict[str, str]:
        """Return what a handshake looks at: the replaced function of its runner, and the device."""
        worker: Any = self
        return {
            "signature": _here.second if worker.use_v2_model_runner else _here.first,
            "device": worker.device.type,
        }

    def energy_guard_multiply(self, inverse_temperature: float) -> None:
        """Multiply this worker's rows from now on by a number before they are reduced.

        The worker's own runner keeps it: another engine of the process has another one.
        """
        worker: Any = self
        if worker.use_v2_model_runner:
            multiply(worker.model_runner, inverse_temperature)
        else:
            worker.model_runner.sampler.energy_guard_inverse_temperature = inverse_temperature


def with_numbers(
    rows: Tensor, count: int, chosen: Tensor, inverse_temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gather what vLLM sends of each row, with our numbers in the place of the last columns.

    A row in which a grammar of vLLM's own has ruled tokens out is not the model's any more: its
    numbers are NaN. Whole rows are sent as they are, without numbers.

    Args:
        rows: shape (N, vocabulary), float32, raw logits.
        count: how many columns are wanted beside the chosen token's, at least `NUMBERS`.
        chosen: shape (N,), token ids.
        inverse_temperature: rows are multiplied by it, if they are not sent whole.

    Returns:
        Token ids and values, both (N, 1 + count); the ranks of the chosen tokens, (N,).
    """
    import torch

    whole = count == rows.shape[-1]
    if not whole and inverse_temperature != 1.0:
        rows = rows * inverse_temperature
    likeliest, ids = rows.topk(count if whole else count - NUMBERS, dim=-1)
    at = chosen[:, None]
    logits = rows.gather(-1, at)
    ranks = (rows >= logits).sum(-1)
    if whole:
        return torch.cat((at, ids), dim=1).to(torch.int32), torch.cat((logits, likeliest), 1), ranks
    numbers = _numbers_of(rows)
    numbers[rows.isneginf().any(-1)] = math.nan
    marks = at.new_zeros(len(at), NUMBERS)
    indices = torch.cat((at, ids, marks), dim=1).to(torch.int32)
    return indices, torch.cat((logits, likeliest, numbers), dim=1), ranks


def _numbers_of(rows: Tensor) -> Tensor:
    """The numbers of rows, shape (N, NUMBERS), by what is fastest where they are."""
    if rows.device.type != "cpu":
        return reduce_rows(rows)
    reduced, _ = _of_thread.reducer.rows_of(rows)
    return rows.new_tensor([[r.log_partition, r.mean, r.entropy, r.margin] for r in reduced])


def replace_gathering(sampler: Any, tensors: Any) -> None:
    """Put `with_numbers` in the place of what a sampler class gathers, if enough is asked for.

    Another function than the known one is left alone: an error here would end the worker without
    a word that helps, and a handshake finds it.

    Args:
        sampler: vLLM's class.
        tensors: its tuple of what is gathered.
    """
    before = sampler.gather_logprobs
    _here.first = another_signature(before, GATHERS)
    if _here.first:
        return

    def gather_logprobs(self: Any, logprobs: Tensor, num_logprobs: int, token_ids: Tensor) -> Any:
        if num_logprobs < NUMBERS:
            return before(logprobs, num_logprobs, token_ids)
        beta = self.energy_guard_inverse_temperature
        return tensors(*with_numbers(logprobs, num_logprobs, token_ids, beta))

    sampler.energy_guard_inverse_temperature = 1.0
    sampler.gather_logprobs = gather_logprobs  # a method: each worker has a sampler of its own


if "vllm" in sys.modules:  # a worker imports this; whoever looks at it without vLLM may, too
    from vllm.v1.outputs import LogprobsTensors
    from vllm.v1.sample.sampler import Sampler
    from vllm.v1.worker.gpu.sample import logprob

    replace_gathering(Sampler, LogprobsTensors)
    _here.second = replace_scores(
        logprob,
        LogprobsTensors,
        wanted=lambda count, of_logits: of_logits and count >= NUMBERS,
        gather=lambda rows, count, chosen: with_numbers(
            rows, count, chosen, of_thread.inverse_temperature
        ),
    )
