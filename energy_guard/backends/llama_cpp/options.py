"""Which of a Llama's options move its numbers, as profiles record them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from energy_guard.backends.base import EngineValue
from energy_guard.backends.llama_cpp.load import supports_gpu_offload

if TYPE_CHECKING:
    from llama_cpp import Llama

_MOVING: Final = (
    *("flash_attn", "type_k", "type_v"),
    *("rope_scaling_type", "rope_freq_base", "rope_freq_scale"),
)


def engine_options(llm: Llama) -> dict[str, EngineValue]:
    """Return options under the names and with the values that `llama_cpp.Llama` takes.

    n_gpu_layers: as many as there are, the output included; 0 where this build has no GPU. n_ctx
    moves numbers only of models with two scales of positions: it matters whether it is above the
    length that they were trained on first.
    """
    state = llm.__getstate__()
    options: dict[str, EngineValue] = {name: state[name] for name in _MOVING}
    kind = llm.metadata.get("general.architecture")
    layers = int(llm.metadata.get(f"{kind}.block_count", state["n_gpu_layers"]))
    offloaded = min(state["n_gpu_layers"], layers + 1) if supports_gpu_offload() else 0
    first = llm.metadata.get(f"{kind}.rope.scaling.original_context_length")
    if first is not None:
        options[f"n_ctx above {first}"] = llm.n_ctx() > int(first)
    return options | {"n_gpu_layers": offloaded}
