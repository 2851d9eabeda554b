"""Weights that accelerate keeps elsewhere (another device, the disk) while they are not needed.

In the model stand placeholders without values, on PyTorch's device `meta`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from energy_guard.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel


def device_of(model: PreTrainedModel) -> torch.device:
    """Return the device that takes the model's token ids, its own or its offloading scheme's.

    Raises InputError for a model without weights anywhere.
    """
    import torch

    if model.device.type != "meta":
        return model.device
    for module in (model.get_input_embeddings(), *model.modules()):
        for hook in _hooks(module):
            if getattr(hook, "execution_device", None) is not None:
                return torch.device(hook.execution_device)
    raise _without_weights("its embeddings")


def weights_of(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Yield the names and values of all weights, one in memory at a time, sorted by name.

    Raises InputError for a weight that is in no place that is known here.
    """
    from torch import Tensor

    state: dict[str, Any] = model.state_dict()
    kept = _kept_elsewhere(model)
    for name, value in sorted(state.items()):
        if not isinstance(value, Tensor):
            continue
        if value.device.type != "meta":
            yield name, value
        elif name in kept:
            weights, inner = kept[name]
            yield name, weights[inner]
        else:
            raise _without_weights(name)


def _kept_elsewhere(model: Module) -> dict[str, tuple[Any, str]]:
    """For each placeholder, the mapping that has its value, and the key there."""
    kept: dict[str, tuple[Any, str]] = {}
    for path, module in model.named_modules():
        for hook in _hooks(module):
            weights = getattr(hook, "weights_map", None)
            if weights is None:
                continue
            inside = hook.place_submodules
            for name in (
                *(name for name, _ in module.named_parameters(recurse=inside)),
                *(name for name, _ in module.named_buffers(recurse=inside)),
            ):
                kept[f"{path}.{name}" if path else name] = weights, name
    return kept


def _hooks(module: Any) -> list[Any]:
    hook = getattr(module, "_hf_hook", None)
    return list(getattr(hook, "hooks", [] if hook is None else [hook]))


def _without_weights(name: str) -> InputError:
    return InputError(
        f"the model has no values for {name}: they are on the device `meta`",
        "Load the model with its weights; those that accelerate offloads are found.",
    )
