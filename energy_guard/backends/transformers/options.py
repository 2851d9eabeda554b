"""Which settings of a transformers model move its numbers, as profiles record them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energy_guard.backends.transformers.offload import device_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from energy_guard.backends.base import EngineValue


def engine_options(model: PreTrainedModel) -> dict[str, EngineValue]:
    """Return where and how the model computes, under the names that `from_pretrained` takes.

    device: the type of the one that computes, not its number.
    """
    return {
        "device": device_of(model).type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "attn_implementation": model.config._attn_implementation,
    }
