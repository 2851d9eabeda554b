"""What a probe's neurons contribute to answers while llama.cpp writes them.

No pass of its own: the values are read as each token is evaluated, and reduced to one number.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from energy_guard.energy import Floats
from energy_guard.neurons.contributions import Float32s
from energy_guard.neurons.llama_cpp.column_norms import column_norms
from energy_guard.neurons.llama_cpp.nodes import ENTERING, LEAVING, names_of
from energy_guard.neurons.llama_cpp.stand_in import watched
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.trace import Trace

if TYPE_CHECKING:
    from llama_cpp import Llama


@contextmanager
def watching_neurons(llm: Llama, probe: NeuronProbe) -> Iterator[NodeObserver]:
    """Watch the neurons of a probe on a Llama that is held, until the block ends.

    Raises:
        MismatchError: The probe is of another shape.
        EngineError: There is no memory for a second context.

    """
    norms = _norms.get(llm)
    if norms is None:
        norms = _norms[llm] = column_norms(Path(llm.model_path))
    watch = NodeObserver(probe, norms)
    with watched(llm, watch):
        yield watch


class NodeObserver:
    """An observer that gives each token the log-odds of its own contributions.

    norms: the length of each column, shape (layers, neurons).
    """

    def __init__(self, probe: NeuronProbe, norms: Float32s) -> None:
        self._probe = probe
        self._columns = probe.columns(norms)
        self._entering = {f"{kind}-{layer}": layer for kind in ENTERING for layer in self._columns}
        self._leaving = {f"{LEAVING}-{layer}": layer for layer in self._columns}
        self.names = names_of([*self._entering, *self._leaving])
        self._begin = 0
        self._told: dict[int, list[_Pushes]] = {layer: [] for layer in self._columns}
        self._next = dict.fromkeys(self._columns, 0)
        self._waiting: tuple[int, Float32s] | None = None
        self._later: list[_Layer] = []

    @contextmanager
    def watching(self, sequences: Sequence[int], begin: int) -> Iterator[None]:
        """Look on at one answer; see `Observer.watching`."""
        self._begin = begin
        for pushes in self._told.values():
            pushes.clear()
        self._later.clear()
        yield

    def told(self, sequence: int, trace: Trace) -> Trace:
        """Return the trace with the log-odds of its tokens; see `Observer.told`."""
        self._work_out()
        log_odds = np.full(len(trace), self._probe.intercept)
        for layer in self._columns:
            pushes = np.full(len(trace), np.nan)  # of a token that was not read
            for first, values in self._told[layer]:
                at = first - self._begin
                fit = max(0, min(len(values), len(trace) - at))  # a draft model may have run ahead
                pushes[at : at + fit] = values[:fit]
            log_odds += pushes
        return self._probe.with_log_odds(trace, log_odds)

    def begins(self, position: int) -> bool:
        """Tell whether the next decode is of the answer; see `Onlooker.begins`."""
        self._work_out()
        self._next = dict.fromkeys(self._columns, position)
        self._waiting = None
        return position >= self._begin

    def take(self, name: str, values: Float32s, /) -> None:
        """Take a node: first what enters a layer's projection, then what leaves it.

        The model waits meanwhile, with caches that its weights have emptied, so what is left of one
        token is worked out later, all layers together. Several tokens take too much room for that.
        """
        if name in self._entering:
            self._waiting = self._entering[name], values
            return
        layer, waiting = self._leaving[name], self._waiting
        self._waiting = None
        if waiting is None or waiting[0] != layer or len(waiting[1]) != len(values):
            return  # it is missed in the end
        self._later.append(_Layer(layer, self._next[layer], waiting[1], values))
        self._next[layer] += len(values)
        if len(values) > 1:
            self._work_out()

    def _work_out(self) -> None:
        """Reduce what layers showed to a number a token."""
        for layer, first, z, h in self._later:
            indices, weights = self._columns[layer]
            if indices[-1] < z.shape[1]:
                with np.errstate(divide="ignore", invalid="ignore"):  # not finite: it is unscored
                    lengths = np.sqrt(np.einsum("ij,ij->i", h, h))
                    pushes = (np.abs(z.take(indices, axis=1)) @ weights) / lengths
                self._told[layer].append(_Pushes(first, pushes))
        self._later.clear()


class _Layer(NamedTuple):
    """What a layer showed for some tokens, from the position `first` on.

    z: what entered its down projection, shape (tokens, neurons). h: what left it, shape (tokens,
    width of the model).
    """

    layer: int
    first: int
    z: Float32s
    h: Float32s


class _Pushes(NamedTuple):
    """What a layer adds to the log-odds of some tokens, from the position `first` on."""

    first: int
    values: Floats


_norms: Final[weakref.WeakKeyDictionary[Llama, Float32s]] = weakref.WeakKeyDictionary()
"""The column norms of models that were watched."""
