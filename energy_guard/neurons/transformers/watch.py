"""What a probe's neurons contribute to answers while transformers writes them.

No pass of its own: hooks read the values as tokens are evaluated, and reduce them to one number a
token on the device that has them.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from energy_guard.energy import Floats
from energy_guard.neurons.contributions import Float32s
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.neurons.transformers.gated import column_norms, gated_mlps
from energy_guard.trace import Trace

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear
    from transformers import PreTrainedModel


class HookObserver:
    """An observer that gives each token the log-odds of its own contributions.

    Raises MismatchError if the probe is of another shape, InputError for a model whose neurons
    cannot be read.
    """

    def __init__(self, model: PreTrainedModel, probe: NeuronProbe) -> None:
        self._model = model
        self._probe = probe
        self._projections = gated_mlps(model).projections
        self._columns = probe.columns(_norms_of(model))
        self._runs: dict[int, tuple[_Run, int]] = {}

    @contextmanager
    def watching(self, sequences: Sequence[int], begin: int) -> Iterator[None]:
        """Look on at a batch; see `Observer.watching`."""
        run = _Run(begin, len(self._columns))
        self._runs |= {sequence: (run, row) for row, sequence in enumerate(sequences)}
        mine = get_ident()  # another thread may run the model without a lock

        def started(_model: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if get_ident() == mine:
                ids = kwargs.get("input_ids", args[0] if args else None)
                run.start(kwargs.get("past_key_values"), 0 if ids is None else ids.shape[1])

        def reading(indices: list[int], weights: Tensor) -> Any:
            def hook(module: Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
                if get_ident() == mine and run.wanted:
                    run.take(_pushes(module, inputs[0], output, indices, weights, run.skipped))

            return hook

        import torch

        with ExitStack() as stack:
            hook = self._model.register_forward_pre_hook(started, with_kwargs=True)
            stack.callback(hook.remove)
            for layer, (indices, weights) in self._columns.items():
                read = reading(indices.tolist(), torch.from_numpy(weights).float())
                stack.callback(self._projections[layer].register_forward_hook(read).remove)
            yield

    def told(self, sequence: int, trace: Trace) -> Trace:
        """Return the trace with the log-odds of its tokens; see `Observer.told`."""
        run, row = self._runs.pop(sequence)
        return self._probe.with_log_odds(trace, self._probe.intercept + run.sums(row, len(trace)))


class _Run:
    """The sums of one batch, column by column. begin: the column of the first answer token."""

    def __init__(self, begin: int, layers: int) -> None:
        self._begin = begin
        self._layers = layers
        self._columns: dict[int, Float32s] = {}
        self._at = 0
        self._end = 0
        self._taken: list[Tensor] = []

    def start(self, cache: Any, columns: int) -> None:
        """A pass over so many columns begins, after what is in the cache."""
        self._taken = []
        try:
            self._at = 0 if cache is None else int(cache.get_seq_length())
        except ValueError:  # a state without a length: where a token stands is not known
            columns = 0
        self._end = self._at + columns

    @property
    def wanted(self) -> bool:
        """Whether the pass reads any token of an answer."""
        return self._end > self._begin

    @property
    def skipped(self) -> int:
        """How many columns of the pass come before."""
        return max(0, self._begin - self._at)

    def take(self, pushes: Tensor) -> None:
        """Take what one layer says of each column, shape (answers, columns)."""
        self._taken.append(pushes)
        if len(self._taken) == self._layers:
            first = self._taken[0]
            both = sum((each.to(first.device) for each in self._taken[1:]), first)
            for at, column in enumerate(both.cpu().numpy().T, self._at + self.skipped):
                self._columns[at] = column

    def sums(self, row: int, length: int) -> Floats:
        """Return the sums over all layers of one answer's tokens; NaN for one that was not read."""
        columns = (self._columns.get(self._begin + t) for t in range(length))
        return np.array([np.nan if c is None else c[row] for c in columns], dtype=np.float64)


def _pushes(
    module: Linear,
    entering: Tensor,
    output: Tensor,
    indices: list[int],
    weights: Tensor,
    skipped: int,
) -> Tensor:
    """What some neurons of a layer say of each column, shape (answers, columns), float32."""
    import torch

    z = entering[:, skipped:, indices].abs().float()
    h = output[:, skipped:].float()
    if module.bias is not None:  # no neuron's doing
        h = h - module.bias.float()
    pushes: Tensor = (z @ weights.to(z.device)) / torch.linalg.vector_norm(h, dim=-1)
    return pushes


def _norms_of(model: PreTrainedModel) -> Float32s:
    """The length of each column, shape (layers, neurons): measured once for each model."""
    norms = _norms.get(model)
    if norms is None:
        measured = column_norms(model, gated_mlps(model))
        norms = _norms[model] = np.stack([each.cpu().numpy() for each in measured])
    return norms


_norms: Final[weakref.WeakKeyDictionary[PreTrainedModel, Float32s]] = weakref.WeakKeyDictionary()
"""The column norms of models that were watched."""
