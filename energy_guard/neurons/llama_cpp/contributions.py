"""Contributions of neurons in llama.cpp, read while a second context evaluates answers.

The graph shows what each down projection takes (its name tells the activation) and what it
returns. One layer's values are there at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.errors import EngineError
from energy_guard.neurons.contributions import AnswerToRead, Contributions, Float32s
from energy_guard.neurons.llama_cpp.column_norms import column_norms, refuse_adapter
from energy_guard.neurons.llama_cpp.nodes import ENTERING, LEAVING, names_of
from energy_guard.neurons.llama_cpp.second_context import SecondContext


def read_contributions(
    backend: LlamaCpp, answers: Sequence[AnswerToRead]
) -> Iterator[Contributions]:
    """Yield the contributions of every answer, in order.

    The engine is held until the iterator is exhausted or closed; its cache stays as it is.

    Raises:
        InputError: The model has no gated MLPs that can be read, or an adapter, or an answer
            cannot be read.
        EngineError: llama.cpp fails, or does not show the layers, or a contribution is not finite.

    """
    llm = backend.engine
    refuse_adapter(llm)
    encoded = [backend.encode(answer.request, answer.answer) for answer in answers]
    if not encoded:
        return
    with backend.session():
        reducer = _NodeReducer(column_norms(Path(llm.model_path)))
        size = max(len(prompt) + len(ids) for prompt, ids in encoded)
        with SecondContext(llm, size, reducer) as context:
            for answer, (prompt, ids) in zip(answers, encoded, strict=True):
                context.clear()
                context.read(prompt, at=0, shown=False)
                reducer.begin(answer.shares())
                context.read(ids, at=len(prompt), shown=True)
                yield Contributions.of_means(reducer.means(), answer)


class _NodeReducer:
    """Makes two means of what each layer shows, also if its tokens come in several parts."""

    def __init__(self, norms: Float32s) -> None:
        self._norms = norms
        layers = range(len(norms))
        self._entering = {f"{kind}-{layer}": layer for kind in ENTERING for layer in layers}
        self._leaving = {f"{LEAVING}-{layer}": layer for layer in layers}
        self.names = names_of([*self._entering, *self._leaving])
        self.begin(np.zeros((2, 0), np.float32))

    def begin(self, shares: Float32s) -> None:
        """Expect the tokens of one answer, each with its share in the means, shape (2, tokens)."""
        layers, neurons = self._norms.shape
        self._shares = shares
        self._sums = np.zeros((layers, 2, neurons), np.float32)
        self._read = np.zeros(layers, np.int64)
        self._waiting: tuple[int, Any] | None = None

    def take(self, name: str, values: Float32s) -> None:
        """Take a node: first what enters a layer's projection, then what leaves it."""
        if name in self._entering:
            self._waiting = self._entering[name], np.abs(values, out=values)
            return
        layer = self._leaving[name]
        if self._waiting is None or self._waiting[0] != layer:
            return  # it is missed in the end
        z, self._waiting = self._waiting[1], None
        start, end = self._read[layer], self._read[layer] + len(values)
        if (
            len(z) != len(values)
            or end > self._shares.shape[1]
            or z.shape[1] != self._norms.shape[1]
        ):
            return
        with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is refused later
            shares = self._shares[:, start:end]
            weights = np.where(shares > 0, shares / np.linalg.norm(values, axis=1), 0)
            self._sums[layer] += weights.astype(np.float32) @ z
        self._read[layer] = end

    def means(self) -> Float32s:
        """Return the means of all layers, shape (layers, 2, neurons).

        Raises:
            EngineError: Some layer was not shown for every token.

        """
        missing = np.flatnonzero(self._read != self._shares.shape[1])
        if len(missing):
            raise EngineError(
                f"llama.cpp did not show the MLP of layer {missing[0]} for every token "
                f"({self._read[missing[0]]} of {self._shares.shape[1]})",
                "This kind of model cannot be read here; with transformers it may.",
            )
        return np.asarray(self._sums * self._norms[:, None], dtype=np.float32)
