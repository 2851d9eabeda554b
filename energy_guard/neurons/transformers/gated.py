"""Where the neurons of a transformers model are: the down projections of its gated MLPs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.transformers.offload import weights_of
from energy_guard.errors import InputError
from energy_guard.neurons.contributions import Float32s

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear, Module
    from transformers import PreTrainedModel

_PARTS: Final = frozenset({"gate_proj", "up_proj", "down_proj"})
_FUSED: Final = frozenset({"gate_up_proj", "gate_and_up_proj"})

_WHAT_FITS: Final = (
    "Take a dense model with gate_proj, up_proj and down_proj in every layer, such as Llama, "
    "Qwen2, Qwen3, Gemma, Mistral or OLMo 2."
)


@dataclass(frozen=True)
class GatedMLPs:
    """The down projections of a model, layer by layer, and their names in it."""

    names: tuple[str, ...]
    projections: tuple[Linear, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Layers, and neurons of each."""
        return len(self.projections), self.projections[0].in_features


def gated_mlps(model: PreTrainedModel) -> GatedMLPs:
    """Find the gated MLPs of a decoder.

    Raises:
        InputError: It has none, a mixture of experts, fused projections, not one in every layer,
            or other modules than linear ones as down projections (such as a LoRA's).

    """
    from torch.nn import Linear

    untyped: Any = model  # `get_decoder` has no types
    inside = set(untyped.get_decoder().modules())
    modules = [(name, module) for name, module in model.named_modules() if module in inside]
    _check_kind(type(model).__name__, modules)
    found = [(name, module) for name, module in modules if _parts(module) >= _PARTS]
    config: Any = model.config
    layers = config.get_text_config().num_hidden_layers
    if len(found) != layers:
        raise InputError(
            f"{len(found)} of {layers} layers of {type(model).__name__} have a gated MLP",
            _WHAT_FITS,
        )
    projections: list[Any] = [module.down_proj for _, module in found]
    other = [type(module).__name__ for module in projections if not isinstance(module, Linear)]
    if other:
        raise InputError(
            f"down projections of this model are {other[0]} modules, and not linear layers",
            "Merge an adapter into the model's weights first.",
        )
    widths = sorted({module.in_features for module in projections})
    if len(widths) > 1:
        raise InputError(
            f"the layers of this model have from {widths[0]} to {widths[-1]} neurons", _WHAT_FITS
        )
    return GatedMLPs(tuple(f"{name}.down_proj" for name, _ in found), tuple(projections))


def column_norms(model: PreTrainedModel, mlps: GatedMLPs) -> list[Tensor]:
    """Return the length of each neuron's column of weights, a float32 tensor (neurons,) a layer.

    Weights that accelerate keeps elsewhere are read from there.

    Raises:
        InputError: The weights are quantised, so that they are no columns of numbers.

    """
    import torch

    norms: dict[str, Tensor] = {}
    wanted = {f"{name}.weight": name for name in mlps.names}
    for name, weight in weights_of(model):
        if name in wanted:
            _check_plain(wanted[name], weight)
            norms[wanted[name]] = torch.linalg.vector_norm(weight.detach().float(), dim=0)
    return [norms[name] for name in mlps.names]


def mlp_weights(model: PreTrainedModel, mlps: GatedMLPs) -> Iterator[tuple[int, Float32s]]:
    """Yield each projection with its layer, shape (neurons, width of the model), sorted by name.

    Raises:
        InputError: The weights are quantised, so that they are no rows of numbers.

    """
    layers = {
        f"{down.removesuffix('down_proj')}{part}.weight": layer
        for layer, down in enumerate(mlps.names)
        for part in _PARTS
    }
    for name, weight in weights_of(model):
        if name in layers:
            _check_plain(name.removesuffix(".weight"), weight)
            values = weight.detach().float().cpu().numpy()
            yield layers[name], values.T if name.endswith("down_proj.weight") else values


def _check_plain(module: str, weight: Tensor) -> None:
    if not weight.is_floating_point() or weight.element_size() < 2:
        raise InputError(
            f"the weights of {module} are quantised ({weight.dtype})",
            "Load the model in float32, bfloat16 or float16; a quantised one as GGUF file with "
            "llama.cpp.",
        )


def _check_kind(model: str, modules: Sequence[tuple[str, Module]]) -> None:
    """Refuse what has neurons of another kind, and say which."""
    parts = {part for _, module in modules for part in _parts(module)}
    if any(part == "experts" or "moe" in part for part in parts):
        raise InputError(
            f"{model} is a mixture of experts: which neurons there are differs from token to token",
            _WHAT_FITS,
        )
    if parts & _FUSED:
        raise InputError(
            f"{model} has gate and up projection in one ({', '.join(sorted(parts & _FUSED))})",
            _WHAT_FITS,
        )
    if not parts >= _PARTS:
        raise InputError(f"{model} has no gated MLP", _WHAT_FITS)


def _parts(module: Module) -> set[str]:
    return {name for name, _ in module.named_children()}
