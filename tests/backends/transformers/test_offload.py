"""Models with weights that accelerate keeps elsewhere: they answer, and are told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import pytest
import torch
from tiny_models import byte_tokenizer, tiny_model

from energy_guard import Guard, load
from energy_guard.backends.transformers.fingerprint import fingerprint
from energy_guard.errors import InputError
from energy_guard.request import Request

TOKENIZER = byte_tokenizer()
PLACES = {
    "model.embed_tokens": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.norm": "cpu",
    "model.rotary_emb": "cpu",
    "lm_head": "disk",
}
SCHEMES: dict[str, Callable[[Any, Path], object]] = {
    "processor": lambda model, _: accelerate.cpu_offload(model, execution_device="cpu"),
    "disk": lambda model, folder: accelerate.disk_offload(model, folder, execution_device="cpu"),
    "some on the disk": lambda model, folder: accelerate.dispatch_model(
        model, PLACES, main_device="cpu", offload_dir=folder
    ),
}


@pytest.fixture(params=SCHEMES)
def offload(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], Any]:
    def offloaded(model: Any) -> Any:
        SCHEMES[request.param](model, tmp_path)
        assert model.lm_head.weight.device.type == "meta"
        return model

    return offloaded


def test_it_answers_as_if_its_weights_were_there(offload: Callable[[Any], Any]) -> None:
    there = Guard(load((tiny_model("llama"), TOKENIZER)))
    elsewhere = Guard(load((offload(tiny_model("llama")), TOKENIZER)))

    for guard_ in (lambda g: g.ask("Hi", max_tokens=4), lambda g: g.score("Hi", "abc")):
        one, other = guard_(there).trace, guard_(elsewhere).trace
        assert other.ids.tolist() == one.ids.tolist()
        assert np.allclose(other.nll, one.nll, atol=1e-5)


def test_a_fast_replay_and_states_are_read_too(offload: Callable[[Any], Any]) -> None:
    backend: Any = load((offload(tiny_model("llama")), TOKENIZER))

    assert len(list(backend.replay(Request.raw("Hi"), "abc", fast=True))) > 3
    assert np.isfinite(backend.states(Request.raw("Hi"), [65, 66], token=1).values).all()


def test_its_fingerprint_is_that_of_the_same_weights(offload: Callable[[Any], Any]) -> None:
    assert fingerprint(offload(tiny_model("llama")), TOKENIZER) == fingerprint(
        tiny_model("llama"), TOKENIZER
    )


@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj", "lm_head"])
def test_a_weight_that_is_kept_elsewhere_changes_the_fingerprint(
    offload: Callable[[Any], Any], name: str
) -> None:
    other = tiny_model("llama")
    with torch.no_grad():
        other.get_submodule(name).weight += 1.0

    assert fingerprint(offload(other), TOKENIZER) != fingerprint(tiny_model("llama"), TOKENIZER)


def test_the_device_is_the_one_that_computes(offload: Callable[[Any], Any]) -> None:
    assert load((offload(tiny_model("llama")), TOKENIZER)).info.engine["device"] == "cpu"


def test_a_model_without_values_is_no_model_with_a_fingerprint() -> None:
    backend = load((tiny_model("llama").to("meta"), TOKENIZER))

    with pytest.raises(InputError, match="no values for"):
        backend.info.fingerprint  # noqa: B018
    with pytest.raises(InputError, match="no values for"):
        list(backend.generate([Request.raw("Hi", max_tokens=2)]))
