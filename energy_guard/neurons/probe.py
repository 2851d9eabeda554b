"""A linear probe on neurons' contributions, kept as plain numbers in a JSON file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from energy_guard.backends.base import ModelInfo
from energy_guard.config import Config, read_config
from energy_guard.energy import Floats
from energy_guard.errors import ConfigError, MismatchError
from energy_guard.files import write_whole
from energy_guard.neurons.contributions import Contributions, Float32s, Neuron
from energy_guard.trace import SCHEMA, Trace

NAMED: Final = "neurons:"
"""How the names of probes begin."""

Labelling = Literal["1-vs-1", "3-vs-1"]
"""What a probe is fitted to tell apart. 1-vs-1: the exact answers of wrong and of right answers.
3-vs-1: the exact answers of wrong answers, and all else: the rest of these, and both parts of right
ones."""


class WeighedNeuron(Config):
    """One neuron of a probe with the weight of its contribution."""

    layer: int = Field(ge=0)
    index: int = Field(ge=0)
    weight: float


class ProbeTraining(Config):
    """What a probe was fitted on.

    n, n_wrong: answers. questions: how many different ones they are to. c: liblinear's inverse
    strength of the penalty. accuracy: on answers to questions that were left out while c was
    chosen; a best of several, so a little too high.
    """

    labelling: Labelling
    n: int = Field(ge=1)
    n_wrong: int = Field(ge=0)
    questions: int = Field(ge=1)
    c: float = Field(gt=0)
    accuracy: float = Field(ge=0, le=1)


class NeuronProbe(Config):
    """Log-odds of "wrong" from the contributions of a few neurons to the exact answer.

    It belongs to one model on one backend. Neurons with a positive weight are the H-neurons: the
    more they contribute, the likelier the answer is wrong.

    model: the fingerprint. shape: layers, and neurons of each.

    >>> training = ProbeTraining(
    ...     labelling="1-vs-1", n=40, n_wrong=20, questions=40, c=1.0, accuracy=0.7
    ... )
    >>> probe = NeuronProbe(
    ...     model="00ff",
    ...     backend="llama-cpp",
    ...     shape=(2, 500),
    ...     neurons=(WeighedNeuron(layer=1, index=7, weight=3.0),),
    ...     intercept=-1.0,
    ...     training=training,
    ... )
    >>> probe.h_neurons, probe.per_mille
    ((Neuron(layer=1, index=7),), 1.0)
    """

    schema_: Literal[1] = Field(default=SCHEMA, alias="schema")
    model: str
    backend: str
    shape: tuple[int, int]
    neurons: tuple[WeighedNeuron, ...] = Field(min_length=1)
    intercept: float
    training: ProbeTraining

    @model_validator(mode="after")
    def _inside(self) -> Self:
        layers, width = self.shape
        places = {(neuron.layer, neuron.index) for neuron in self.neurons}
        if len(places) < len(self.neurons):
            raise ValueError("a neuron is there twice")
        outside = [place for place in places if place[0] >= layers or place[1] >= width]
        if outside:
            raise ValueError(f"neuron {outside[0]} is outside the shape {self.shape}")
        return self

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a probe from JSON; ConfigError names a wrong key."""
        return cls(**read_config(path))

    def store(self, path: Path) -> None:
        """Write the probe as readable JSON, all or nothing; ConfigError if that fails."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, self.model_dump_json(indent=1, by_alias=True) + "\n")
        except OSError as error:
            raise ConfigError(
                f"cannot write the probe {path}: {error.strerror}", "Give another place."
            ) from error

    @property
    def name(self) -> str:
        """`neurons:` and a digest of the model and the numbers: what detectors are called by."""
        numbers = [[n.layer, n.index, n.weight] for n in self.neurons]
        text = json.dumps([self.model, self.backend, self.shape, numbers, self.intercept])
        return f"{NAMED}{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def h_neurons(self) -> tuple[Neuron, ...]:
        """The neurons with a positive weight, the heaviest first."""
        positive = [neuron for neuron in self.neurons if neuron.weight > 0]
        positive.sort(key=lambda neuron: -neuron.weight)
        return tuple(Neuron(neuron.layer, neuron.index) for neuron in positive)

    @property
    def per_mille(self) -> float:
        """H-neurons among a thousand neurons of the model."""
        layers, width = self.shape
        return 1000 * len(self.h_neurons) / (layers * width)

    def check(self, info: ModelInfo) -> None:
        """Check that the probe is of this model.

        Raises:
            MismatchError: It is of another one, or of another backend.

        """
        if (self.model, self.backend) != (info.fingerprint, info.backend):
            raise MismatchError(
                f"the probe was made for the model {self.model} on {self.backend}, and this is "
                f"{info.fingerprint} on {info.backend}",
                "Neurons of one model mean nothing in another: find those of this one.",
            )

    def columns(self, norms: Float32s) -> dict[int, tuple[npt.NDArray[np.int64], Floats]]:
        """Return what makes a token's log-odds from activations, for each layer of the probe.

        Args:
            norms: The length of each neuron's column, shape (layers, neurons).

        Returns:
            By layer the neurons' indices, in order, and by what |z| / ‖h‖ of each is multiplied.

        Raises:
            MismatchError: The columns are of a model of another shape.

        """
        self._check_shape(norms)
        layers: dict[int, list[WeighedNeuron]] = {}
        for neuron in sorted(self.neurons, key=lambda n: (n.layer, n.index)):
            layers.setdefault(neuron.layer, []).append(neuron)
        found = {}
        for layer, neurons in layers.items():
            indices = np.array([n.index for n in neurons])
            weights = np.array([n.weight for n in neurons])
            found[layer] = indices, weights * norms[layer, indices].astype(np.float64)
        return found

    def with_log_odds(self, trace: Trace, values: Floats) -> Trace:
        """Return a trace with the log-odds of each token alone, shape (T,), under the probe's name.

        Their mean over the exact answer is `log_odds` of the answer.
        """
        return replace(trace, extras={**trace.extras, self.name: values})

    def log_odds(self, contributions: Contributions) -> float:
        """Return the log-odds of "wrong" for one answer; above 0 means rather wrong.

        Raises:
            MismatchError: The contributions are of a model of another shape.

        """
        values = contributions.exact
        self._check_shape(values)
        picked = values[[n.layer for n in self.neurons], [n.index for n in self.neurons]]
        weights = np.array([n.weight for n in self.neurons])
        return float(picked.astype(np.float64) @ weights + self.intercept)

    def _check_shape(self, values: Float32s) -> None:
        if values.shape != self.shape:
            raise MismatchError(
                f"the probe is of {self.shape[0]} layers of {self.shape[1]} neurons, and these are "
                f"contributions of {values.shape[0]} layers of {values.shape[1]}",
                "Read them with the model that the probe was made for.",
            )
