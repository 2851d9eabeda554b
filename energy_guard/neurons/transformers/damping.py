"""Scaling neurons of a transformers model for a while; its weights are never touched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from energy_guard.neurons.contributions import Neuron, check_neurons
from energy_guard.neurons.transformers.gated import gated_mlps

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@contextmanager
def damped(model: PreTrainedModel, neurons: Sequence[Neuron], factor: float) -> Iterator[None]:
    """Multiply what the down projections take; see `energy_guard.neurons.damped`.

    Args:
        model: Left as it was, bit for bit, also after an exception.
        neurons: Which ones, each once.
        factor: From 0 to 3.

    Raises:
        InputError: A neuron is out of range, or the model has no gated MLPs.

    """
    mlps = gated_mlps(model)
    check_neurons(neurons, mlps.shape)
    columns: dict[int, list[int]] = defaultdict(list)
    for neuron in neurons:
        columns[neuron.layer].append(neuron.index)
    with ExitStack() as stack:
        for layer, indices in columns.items() if factor != 1 else ():
            hook = _scaling(indices, factor)
            stack.callback(mlps.projections[layer].register_forward_pre_hook(hook).remove)
        yield


def _scaling(indices: list[int], factor: float) -> Any:
    def scale(_module: object, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        scaled = inputs[0].clone()  # whoever made it may use it once more
        scaled[..., indices] *= factor
        return scaled, *inputs[1:]

    return scale
