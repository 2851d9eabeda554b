"""A stored probe: what it says, what it refuses, and that a file holds all of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from energy_guard.backends.base import ModelInfo
from energy_guard.errors import ConfigError, MismatchError
from energy_guard.neurons import Contributions, Neuron, NeuronProbe

GIVEN: dict[str, Any] = {
    "model": "00ff",
    "backend": "llama-cpp",
    "shape": (2, 3),
    "neurons": (
        {"layer": 0, "index": 1, "weight": 2.0},
        {"layer": 1, "index": 2, "weight": -1.0},
        {"layer": 1, "index": 0, "weight": 4.0},
    ),
    "intercept": -0.5,
    "training": {
        **{"labelling": "1-vs-1", "n": 40, "n_wrong": 20},
        **{"questions": 40, "c": 0.5, "accuracy": 0.75},
    },
}


def probe(**changes: Any) -> NeuronProbe:
    return NeuronProbe(**(GIVEN | changes))


def test_log_odds_are_the_weighted_sum_of_the_exact_answer() -> None:
    exact = np.array([[9, 0.5, 9], [0.25, 9, 3]], np.float32)
    assert probe().log_odds(Contributions(exact, None)) == 2 * 0.5 - 3 + 4 * 0.25 - 0.5


def test_the_positive_weights_are_the_h_neurons_the_heaviest_first() -> None:
    assert probe().h_neurons == (Neuron(1, 0), Neuron(0, 1))
    assert probe().per_mille == 1000 * 2 / 6


def test_a_file_holds_the_whole_probe(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "probe.json"
    probe().store(path)
    assert NeuronProbe.read(path) == probe()
    assert json.loads(path.read_text())["schema"] == 1


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write the probe"):
        probe().store(tmp_path / "file" / "probe.json")


def test_it_belongs_to_one_model_on_one_backend() -> None:
    probe().check(ModelInfo("tiny", "00ff", backend="llama-cpp"))
    for other in (
        ModelInfo("tiny", "00fe", backend="llama-cpp"),
        ModelInfo("tiny", "00ff", backend="transformers"),
    ):
        with pytest.raises(MismatchError, match=r"made for the model 00ff on llama-cpp"):
            probe().check(other)


def test_contributions_of_another_shape_are_refused() -> None:
    with pytest.raises(MismatchError, match=r"2 layers of 3 neurons.*3 layers of 2"):
        probe().log_odds(Contributions(np.zeros((3, 2), np.float32), None))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"neurons": ()}, "neurons"),
        ({"neurons": GIVEN["neurons"][:1] * 2}, "a neuron is there twice"),
        ({"shape": (1, 3)}, "outside the shape"),
        ({"shape": (2, 2)}, "outside the shape"),
        ({"intercept": float("nan")}, "intercept"),
        ({"schema": 2}, "schema"),
        ({"colour": "red"}, "no such key"),
        ({"training": GIVEN["training"] | {"labelling": "2-vs-1"}}, "labelling"),
    ],
)
def test_what_is_no_probe_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        probe(**changes)
