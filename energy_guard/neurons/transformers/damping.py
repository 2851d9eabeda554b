"""Scaling neurons of a transformers model for a while; its weights are never touched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from energy_guard.neurons.contributions import Neuron, check_factor, check_neurons
from energy_guard.neurons.transformers.gated import gated_mlps

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@contextmanager
def damped(model: PreTrainedModel, neurons: Iterable[Neuron], factor: float) -> Iterator[None]:
    """Multiply what the down projections take from these neurons, until the block ends.

    Whatever runs the model meanwhile has them damped: generation, capture and scoring, of any
    thread. A key-value cache that was filled before does not know of it: begin anew inside. What
    a profile promises was measured without. Blocks may stand inside each other: factors multiply.

    Args:
        model: Left as it was, bit for bit, also after an exception.
        neurons: Which ones; each counts once, however often it is given.
        factor: From 0, which switches them off, to 3; 1 changes nothing.

    Raises:
        InputError: The factor or a neuron is out of range, or the model has no gated MLPs.

    """
    check_factor(factor)
    mlps, chosen = gated_mlps(model), sorted(set(neurons))
    check_neurons(chosen, mlps.shape)
    columns: dict[int, list[int]] = defaultdict(list)
    for neuron in chosen:
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
