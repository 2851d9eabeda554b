"""How much single neurons of a gated MLP contribute to what it writes (CETT).

For neuron j of a layer at token τ, with z the input of the layer's down projection W and h = W z
its output: |z_j| · ‖W[:, j]‖ / ‖h‖ (Gao et al., 'H-Neurons', arXiv 2512.01797). Nothing here knows
an engine: both give means over tokens of one answer, made in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from energy_guard.errors import EngineError, InputError
from energy_guard.request import Request

Float32s = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, order=True)
class Neuron:
    """One intermediate channel of one layer's MLP, both counted from 0.

    >>> Neuron(layer=3, index=14)
    Neuron(layer=3, index=14)
    """

    layer: int
    index: int


@dataclass(frozen=True, slots=True)
class AnswerToRead:
    """An answer that exists, to be read by a model after its prompt.

    answer: its token ids; an end token counts if it is among them. exact: the indices of those
    that hold the exact answer, as `Span.tokens` has them.

    >>> AnswerToRead(Request.chat("Capital of Italy?"), answer=(7, 8, 9), exact=(1,)).rest
    2
    """

    request: Request
    answer: tuple[int, ...]
    exact: tuple[int, ...]

    def __post_init__(self) -> None:
        count = len(self.answer)
        if not self.exact:
            raise InputError(
                "the exact answer has no tokens", "Leave out answers that were not located."
            )
        if not all(0 <= at < count for at in self.exact) or len(set(self.exact)) < len(self.exact):
            raise InputError(
                f"the exact answer is at {list(self.exact)}, and the answer has {count} tokens",
                "Give each index once, counted from the answer's first token.",
            )

    @property
    def rest(self) -> int:
        """How many tokens are outside the exact answer."""
        return len(self.answer) - len(self.exact)

    def shares(self) -> Float32s:
        """Return by how much each token counts in the two means, shape (2, tokens).

        The first row is of the exact answer, the second of the rest: it is 0 if there is none.
        """
        inside = np.isin(np.arange(len(self.answer)), self.exact)
        shares = np.stack([inside / len(self.exact), ~inside / max(1, self.rest)])
        return shares.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no one truth value
class Contributions:
    """Every neuron's mean contribution to one answer.

    exact: over the tokens of the exact answer, shape (layers, neurons). rest: over the answer's
    other tokens; None if it has no others. A token's contribution is that of the step in which the
    model reads it.
    """

    exact: Float32s
    rest: Float32s | None

    @classmethod
    def of_means(cls, means: Float32s, answer: AnswerToRead) -> Self:
        """Take an engine's means, shape (layers, 2, neurons).

        Raises:
            EngineError: One is not finite: a layer's output was 0, or too large for its type.

        """
        if not np.isfinite(means[:, : 2 if answer.rest else 1]).all():
            raise EngineError(
                "the contributions of some neurons are not finite",
                "Load the model in float32 or bfloat16, and run `energy-guard doctor` with it.",
            )
        return cls(means[:, 0].copy(), means[:, 1].copy() if answer.rest else None)


def check_neurons(neurons: Sequence[Neuron], shape: tuple[int, int]) -> None:
    """Raise InputError for no neurons, or for one that a model of this shape has not.

    Args:
        neurons: What somebody chose.
        shape: Layers, and neurons of each.

    """
    if not neurons:
        raise InputError("no neurons were chosen", "Give at least one.")
    layers, width = shape
    for neuron in neurons:
        if not (0 <= neuron.layer < layers and 0 <= neuron.index < width):
            raise InputError(
                f"there is no neuron {neuron.index} in layer {neuron.layer}: the model has "
                f"{layers} layers of {width} neurons",
                "Both are counted from 0.",
            )


def check_factor(factor: float) -> None:
    """Raise InputError for a factor that neurons are not scaled by: below 0, above 3, or NaN."""
    if not (math.isfinite(factor) and 0 <= factor <= 3):
        raise InputError(
            f"neurons cannot be scaled by {factor}", "Give a factor from 0 (off) to 3."
        )
