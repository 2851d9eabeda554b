"""What our side and vLLM's workers agree on: how numbers and settings travel.

`extension` and `steering` are for the workers alone: they take hold of vLLM when they are imported.
"""

from __future__ import annotations

from typing import Final

NUMBERS: Final = 4
"""Columns that are ours: log-partition, row mean, entropy and margin, the last ones of a row. As
token ids they all have 0, which no row of vLLM's own has four times."""

OURS: Final = "energy_guard"
"""The name under which a request of ours carries its settings in `extra_args`."""

EXTENSION: Final = "energy_guard.backends.vllm.extension.RowNumbers"
STEERING: Final = "energy_guard.backends.vllm.steering:Steering"

ENGINE_ARGUMENTS: Final = {
    "worker_extension_cls": EXTENSION,
    "logits_processors": [STEERING],
    "logprobs_mode": "raw_logits",
    "max_logprobs": -1,
    "async_scheduling": False,
}
"""What `LLM` has to be started with beside your own arguments."""

ASKED: Final = {"logprobs": NUMBERS, "flat_logprobs": True}
"""What `SamplingParams` need beside the user's own."""
