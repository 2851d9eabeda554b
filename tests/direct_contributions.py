"""Contributions computed directly from weights and activations, in float64 and token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, np.dtype[np.float64]]


def direct_contributions(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> Array:
    """The contribution of every neuron at every token of an answer: (layers, tokens, neurons)."""
    entering: list[Any] = []
    mlps = [layer.mlp for layer in model.model.layers]
    hooks = [mlp.register_forward_pre_hook(lambda _, x: entering.append(x[0][0])) for mlp in mlps]
    with torch.no_grad():
        model(torch.tensor([[*prompt, *answer]]), use_cache=False)
        for hook in hooks:
            hook.remove()
        return np.array(
            [_of_layer(mlp, x[len(prompt) :]) for mlp, x in zip(mlps, entering, strict=True)]
        )


def _of_layer(mlp: Any, x: Any) -> Array:
    def through(projection: Any) -> Any:
        bias = 0 if projection.bias is None else projection.bias.double()
        return x.double() @ projection.weight.double().T + bias

    down = mlp.down_proj.weight.double()
    z = mlp.act_fn(through(mlp.gate_proj)) * through(mlp.up_proj)
    written = z @ down.T
    found = z.abs() * down.norm(dim=0) / written.norm(dim=1)[:, None]
    return np.asarray(found.numpy())


def direct_means(
    model: Any, prompt: Sequence[int], answer: Sequence[int], exact: Sequence[int]
) -> tuple[Array, Array]:
    """Means over the exact answer and over the rest."""
    tokens = direct_contributions(model, prompt, answer)
    rest = [at for at in range(len(answer)) if at not in exact]
    return tokens[:, list(exact)].mean(axis=1), tokens[:, rest].mean(axis=1)
