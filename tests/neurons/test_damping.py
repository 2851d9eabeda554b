"""Damping: exactly what it says, and nothing left of it afterwards."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from neuron_probes import probe_of
from tiny_models import byte_tokenizer, tiny_model

from energy_guard.backends import Scripted
from energy_guard.backends.transformers import Transformers
from energy_guard.errors import InputError, MismatchError
from energy_guard.neurons import AnswerToRead, Neuron, damped, read_contributions
from energy_guard.neurons.probe import WeighedNeuron
from energy_guard.request import Request

CHOSEN = (Neuron(0, 3), Neuron(1, 95), Neuron(0, 40))
TOKENIZER = byte_tokenizer()
IDS = torch.tensor([[*b"the cat sat on the mat"]])
FAMILIES = ("llama", "mistral", "qwen2", "gemma3_text", "olmo2")


def over(model: Any) -> Transformers:
    return Transformers(model, TOKENIZER)


def rows(model: Any) -> Any:
    with torch.no_grad():
        return model(IDS).logits


def with_scaled_columns(model: Any, factor: float) -> Any:
    """A copy whose weights are what damping amounts to."""
    copy = deepcopy(model)
    for neuron in CHOSEN:
        copy.model.layers[neuron.layer].mlp.down_proj.weight.data[:, neuron.index] *= factor
    return copy


@pytest.mark.parametrize("family", FAMILIES)
def test_a_factor_of_zero_equals_zeroed_columns(family: str) -> None:
    model = tiny_model(family, num_key_value_heads=2)
    with damped(over(model), CHOSEN, 0):
        found = rows(model)
    assert torch.equal(found, rows(with_scaled_columns(model, 0)))
    assert not torch.equal(found, rows(model))


@pytest.mark.parametrize("factor", [0.5, 2.0, 0.3, 3.0])
def test_a_factor_scales_the_columns(factor: float) -> None:
    model = tiny_model()
    with damped(over(model), CHOSEN, factor):
        found = rows(model)
    torch.testing.assert_close(found, rows(with_scaled_columns(model, factor)))
    assert (found - rows(model)).abs().max() > 0.01


def test_a_factor_of_one_changes_nothing() -> None:
    model = tiny_model()
    before = rows(model)
    with damped(over(model), CHOSEN, 1):
        assert torch.equal(rows(model), before)


def test_the_model_is_bit_for_bit_as_it_was() -> None:
    model = tiny_model()
    weights, before = deepcopy(model.state_dict()), rows(model)
    with damped(over(model), CHOSEN, 0.5):
        rows(model)
    left = model.state_dict()
    assert all(torch.equal(left[name], value) for name, value in weights.items())
    assert torch.equal(rows(model), before)


def test_the_model_is_as_it_was_after_an_exception() -> None:
    model = tiny_model()
    before = rows(model)
    with pytest.raises(KeyError, match="mine"), damped(over(model), CHOSEN, 0.5):
        raise KeyError("mine")
    assert torch.equal(rows(model), before)
    assert not any(part._forward_pre_hooks for part in model.modules())


def test_what_enters_the_projection_is_not_changed_in_place() -> None:
    model = tiny_model()
    seen: list[Any] = []
    mlp = model.model.layers[0].mlp
    mlp.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    rows(model)
    with damped(over(model), CHOSEN, 0):
        rows(model)
    assert torch.equal(seen[0], seen[1]), "the hook before sees what the model computed"


def test_blocks_inside_each_other_multiply() -> None:
    model = tiny_model()
    with damped(over(model), CHOSEN, 0.5):
        once = rows(model)
        with damped(over(model), CHOSEN, 2):
            torch.testing.assert_close(rows(model), rows(tiny_model()))
        assert torch.equal(rows(model), once)


def test_a_neuron_given_twice_counts_once() -> None:
    model = tiny_model()
    with damped(over(model), CHOSEN, 0.5):
        once = rows(model)
    with damped(over(model), CHOSEN * 2, 0.5):
        assert torch.equal(rows(model), once)


def test_generation_and_contributions_are_those_of_the_damped_model() -> None:
    model = tiny_model()
    backend = over(model)
    request = Request(ids=tuple(b"the cat sat on"), max_tokens=16)
    read = AnswerToRead(request, tuple(b" the mat"), (5, 6, 7))

    def written(backend: Transformers) -> list[int]:
        return list(backend.generate([request]))[-1].trace.ids.tolist()

    undamped = written(backend)
    other = over(with_scaled_columns(model, 0))
    with damped(backend, CHOSEN, 0):
        assert written(backend) == written(other) != undamped
        [found] = read_contributions(backend, [read])
    assert [found.exact[n.layer, n.index] for n in CHOSEN] == [0, 0, 0]
    [expected] = read_contributions(other, [read])
    np.testing.assert_array_equal(found.exact, expected.exact)
    assert written(backend) == undamped


@pytest.mark.parametrize("factor", [-0.1, 3.1, math.nan, math.inf])
def test_a_factor_out_of_range_is_refused(factor: float) -> None:
    with pytest.raises(InputError, match="from 0"), damped(over(tiny_model()), CHOSEN, factor):
        pytest.fail("it was taken")


@pytest.mark.parametrize("neuron", [Neuron(2, 0), Neuron(0, 96), Neuron(-1, 0), Neuron(0, -1)])
def test_a_neuron_that_there_is_not_is_refused(neuron: Neuron) -> None:
    with (
        pytest.raises(InputError, match="2 layers of 96 neurons"),
        damped(over(tiny_model()), [neuron], 0.5),
    ):
        pytest.fail("it was taken")


def test_of_a_probe_the_h_neurons_are_damped() -> None:
    backend = over(tiny_model())
    with damped(backend, probe_of(backend.info).h_neurons, 0):
        expected = rows(backend.engine)
    with damped(backend, probe_of(backend.info), 0):
        assert torch.equal(rows(backend.engine), expected)


def test_a_probe_without_h_neurons_damps_nothing_and_says_so() -> None:
    backend = over(tiny_model())
    negative = (WeighedNeuron(layer=0, index=7, weight=-2.0),)
    given = probe_of(backend.info, neurons=negative)
    with pytest.raises(InputError, match="no neurons"), damped(backend, given, 0):
        pytest.fail("it was taken")


def test_a_probe_of_another_model_is_refused() -> None:
    other = probe_of(over(tiny_model(seed=1)).info)
    with (
        pytest.raises(MismatchError, match="made for the model"),
        damped(over(tiny_model()), other, 0),
    ):
        pytest.fail("it was taken")


def test_a_backend_that_shows_no_neurons_is_refused() -> None:
    with (
        pytest.raises(InputError, match="scripted does not show the neurons"),
        damped(Scripted.saying(), CHOSEN, 0),
    ):
        pytest.fail("it was taken")


def test_no_neurons_are_refused() -> None:
    with pytest.raises(InputError, match="no neurons"), damped(over(tiny_model()), [], 0.5):
        pytest.fail("it was taken")


def test_a_model_without_gated_mlps_is_refused() -> None:
    with (
        pytest.raises(InputError, match="no gated MLP"),
        damped(over(tiny_model("gpt2")), CHOSEN, 0.5),
    ):
        pytest.fail("it was taken")
