"""What a probe's neurons contribute to answers while llama.cpp writes them.

No pass of its own: the values are read as each token is evaluated, and reduced to one number.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
        self._sums: defaultdict[int, dict[int, float]] = defaultdict(dict)
        self._rows = dict.fromkeys(self._columns, 0)
        self._waiting: tuple[int, Floats] | None = None

    @contextmanager
    def watching(self, sequences: Sequence[int], begin: int) -> Iterator[None]:
        """Look on at one answer; see `Observer.watching`."""
        self._begin = begin
        self._sums.clear()
        yield

    def told(self, sequence: int, trace: Trace) -> Trace:
        """Return the trace with the log-odds of its tokens; see `Observer.told`."""
        positions = range(self._begin, self._begin + len(trace))
        log_odds = [
            self._probe.intercept + sum(self._sums[at].values())
            if len(self._sums[at]) == len(self._columns)
            else np.nan
            for at in positions
        ]
        return self._probe.with_log_odds(trace, np.array(log_odds, np.float64))

    def begins(self, position: int) -> bool:
        """Tell whether the next decode is of the answer; see `Onlooker.begins`."""
        self._rows = dict.fromkeys(self._columns, position)
        self._waiting = None
        return position >= self._begin

    def take(self, name: str, values: Float32s, /) -> None:
        """Take a node: first what enters a layer's projection, then what leaves it."""
        if name in self._entering:
            indices, weights = self._columns[self._entering[name]]
            if indices[-1] < values.shape[1]:
                pushes = np.abs(values[:, indices]).astype(np.float64) @ weights
                self._waiting = self._entering[name], pushes
            return
        layer, waiting = self._leaving[name], self._waiting
        if waiting is None or waiting[0] != layer or len(waiting[1]) != len(values):
            return  # it is missed in the end
        self._waiting = None
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = waiting[1] / np.linalg.norm(values, axis=1)
        for at, part in enumerate(parts.tolist(), self._rows[layer]):
            self._sums[at][layer] = part
        self._rows[layer] += len(parts)


_norms: Final[weakref.WeakKeyDictionary[Llama, Float32s]] = weakref.WeakKeyDictionary()
"""The column norms of models that were watched."""
