"""Contributions of neurons in transformers, read by hooks while answers pass through the model.

Nothing of the size layers × tokens × neurons is ever there: a layer's activations are reduced to
the two means on its own device before the next layer runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from inspect import signature
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from energy_guard.backends.transformers import Transformers
from energy_guard.backends.transformers.job import engine_failures
from energy_guard.backends.transformers.offload import device_of
from energy_guard.neurons.contributions import AnswerToRead, Contributions
from energy_guard.neurons.transformers.gated import GatedMLPs, column_norms, gated_mlps

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear
    from transformers import PreTrainedModel

_POSITIONS: Final = 2048
"""Tokens in one pass, padding included: bounds the activations of the layer that runs."""


def read_contributions(
    backend: Transformers, answers: Sequence[AnswerToRead]
) -> Iterator[Contributions]:
    """Yield the contributions of every answer, in order; several answers are read at once.

    The engine is held until the iterator is exhausted or closed.

    Raises:
        InputError: The model has no gated MLPs that can be read, or an answer cannot be.
        EngineError: The model fails, or a contribution is not finite.

    """
    model: PreTrainedModel = backend.engine
    mlps = gated_mlps(model)
    encoded = [backend.encode(answer.request, answer.answer) for answer in answers]
    with backend.session():
        norms = column_norms(model, mlps)
        for batch in _batches([len(prompt) + len(ids) for prompt, ids in encoded]):
            given = [(answers[i], encoded[i][0]) for i in batch]
            means = _read(model, mlps, norms, given)
            for row, (answer, _) in enumerate(given):
                yield Contributions.of_means(means[:, row], answer)


def _batches(lengths: Sequence[int]) -> Iterator[range]:
    """Divide answers, in order, into passes of a bounded number of positions."""
    start = 0
    for i in range(1, len(lengths) + 1):
        if i == len(lengths) or max(lengths[start : i + 1]) * (i + 1 - start) > _POSITIONS:
            yield range(start, i)
            start = i


def _read(
    model: PreTrainedModel,
    mlps: GatedMLPs,
    norms: Sequence[Tensor],
    given: Sequence[tuple[AnswerToRead, list[int]]],
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Read a batch, padded on the right: what follows a token does not reach it.

    Returns the means of all layers, shape (layers, answers, 2, neurons).
    """
    import torch

    lengths = [len(prompt) + len(answer.answer) for answer, prompt in given]
    width, first = max(lengths), min(len(prompt) for _, prompt in given)
    ids = np.zeros((len(given), width), dtype=np.int64)
    shares = np.zeros((len(given), 2, width), dtype=np.float32)
    for row, (answer, prompt) in enumerate(given):
        ids[row, : lengths[row]] = [*prompt, *answer.answer]
        shares[row, :, len(prompt) : lengths[row]] = answer.shares()
    reducer = _HookReducer(mlps, norms, torch.from_numpy(shares[:, :, first:]), first)
    takes = signature(model.forward).parameters.keys()
    options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
    mask = np.arange(width) < np.array(lengths)[:, None]
    device = device_of(model)
    with engine_failures(), torch.no_grad(), reducer.installed():
        model(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=torch.from_numpy(mask.astype(np.int64)).to(device),
            use_cache=False,
            return_dict=True,
            **options,
        )
        return np.stack([means.cpu().numpy() for means in reducer.means])


class _HookReducer:
    """Makes two means of what each down projection takes and returns.

    shares: by how much the tokens from column `first` on count, shape (answers, 2, columns).
    """

    def __init__(
        self, mlps: GatedMLPs, norms: Sequence[Tensor], shares: Tensor, first: int
    ) -> None:
        self.means: list[Tensor] = []
        self._mlps = mlps
        self._norms = norms
        self._shares = shares
        self._first = first

    def installed(self) -> ExitStack:
        """Put hooks into the model until the returned context ends."""
        mine = get_ident()
        stack = ExitStack()

        def take(layer: int) -> Any:
            def hook(module: Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
                if get_ident() == mine:  # another thread may run the model without a lock
                    self.means.append(self._reduced(layer, module, inputs[0], output))

            return hook

        for layer, module in enumerate(self._mlps.projections):
            stack.callback(module.register_forward_hook(take(layer)).remove)
        return stack

    def _reduced(self, layer: int, module: Linear, entering: Tensor, output: Tensor) -> Tensor:
        """Weigh the activations of one layer; shape (answers, 2, neurons), float32."""
        import torch

        answers = len(self._shares)
        z = entering.reshape(answers, -1, entering.shape[-1])[:, self._first :]
        h = output.reshape(answers, -1, output.shape[-1])[:, self._first :].float()
        if module.bias is not None:  # no neuron's doing
            h = h - module.bias.float()
        shares = self._shares.to(z.device)
        length = torch.linalg.vector_norm(h, dim=-1)[:, None]
        weights = torch.where(shares > 0, shares / length, 0.0)
        return torch.bmm(weights, z.abs().float()) * self._norms[layer].to(z.device)
