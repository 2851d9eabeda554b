"""Which settings of an engine of vLLM move its numbers, as profiles record them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from energy_guard.backends.base import EngineValue


def engine_options(config: Any, device: str) -> dict[str, EngineValue]:
    """Return where and how it computes, under the names that vLLM takes.

    rows: that a row depends, in its last digits, on what is asked beside it. In bfloat16 these
    are not the last ones.

    Args:
        config: its `VllmConfig`.
        device: the kind of device its workers compute on.
    """
    return {
        "device": device,
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "quantization": config.model_config.quantization,
        "kv_cache_dtype": str(config.cache_config.cache_dtype),
        "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
        "enable_prefix_caching": bool(config.cache_config.enable_prefix_caching),
        "enable_chunked_prefill": bool(config.scheduler_config.enable_chunked_prefill),
        "enforce_eager": bool(config.model_config.enforce_eager),
        "model_runner": "V2" if config.use_v2_model_runner else "V1",
        "rows": "batched",
    }
