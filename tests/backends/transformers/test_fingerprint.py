"""What a fingerprint follows, and what it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CHATML, FAMILIES, byte_tokenizer, tiny_model
from transformers import AutoModelForCausalLM

from energy_guard import load
from energy_guard.backends.transformers.fingerprint import fingerprint

TOKENIZER = byte_tokenizer()


def of(model: Any) -> str:
    return fingerprint(model, TOKENIZER)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved")
    tiny_model().save_pretrained(path)
    TOKENIZER.save_pretrained(path)
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_same_before_and_after_saving(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    before = of(model)
    model.save_pretrained(tmp_path / "one")
    assert of(model) == before, "saving changes nothing"
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    assert of(again) == before
    again.save_pretrained(tmp_path / "two")
    assert of(AutoModelForCausalLM.from_pretrained(tmp_path / "two")) == before


def test_it_is_the_same_after_use_and_in_every_mode(saved: Path) -> None:
    backend = load(saved)
    before = backend.info.fingerprint
    assert of(backend.engine.train()) == of(backend.engine.eval()) == before
    backend.engine.generation_config.temperature = 0.3
    backend.engine.config.use_cache = False
    assert of(backend.engine) == before


def test_how_attention_is_computed_is_not_the_model(saved: Path) -> None:
    names = {
        of(AutoModelForCausalLM.from_pretrained(saved, attn_implementation=way))
        for way in ("eager", "sdpa")
    }
    assert names == {of(tiny_model())}


def test_the_place_of_the_files_is_not_the_model(saved: Path, tmp_path: Path) -> None:
    elsewhere = saved.rename(tmp_path / "elsewhere")
    moved = load(elsewhere).info
    elsewhere.rename(saved)
    assert moved.fingerprint == load(saved).info.fingerprint
    assert moved.name == "elsewhere"


def test_the_tokenizer_is_the_same_after_saving(saved: Path) -> None:
    assert load(saved).info.fingerprint == fingerprint(tiny_model(), TOKENIZER)


@pytest.mark.parametrize("name", [name for name, _ in tiny_model().named_parameters()])
def test_it_changes_with_every_tensor(name: str) -> None:
    model = tiny_model()
    before = of(model)
    with torch.no_grad():
        model.get_parameter(name).mul_(1.001)
    assert of(model) != before


def test_it_changes_with_precision_and_what_rounding_leaves() -> None:
    whole = tiny_model()
    kinds = [whole, tiny_model().half(), tiny_model().bfloat16(), tiny_model().half().float()]
    assert len({of(model) for model in kinds}) == 4


def test_it_changes_with_the_seed_the_family_and_the_configuration() -> None:
    models = [
        tiny_model(),
        tiny_model(seed=1),
        tiny_model("mistral"),
        tiny_model("mistral", sliding_window=None),
        tiny_model("gemma2"),
        tiny_model("gemma2", final_logit_softcapping=6.0),
        tiny_model(rope_parameters={"rope_type": "default", "rope_theta": 5e5}),
    ]
    assert len({of(model) for model in models}) == len(models)


def test_it_changes_with_the_chat_template_and_the_vocabulary() -> None:
    model = tiny_model()
    templates = [CHATML, CHATML + " ", None]
    names = {fingerprint(model, byte_tokenizer(template)) for template in templates}
    larger = byte_tokenizer()
    larger.add_tokens(["more"])
    assert len({*names, fingerprint(model, larger)}) == 4


def test_it_changes_with_the_template_that_is_used_instead() -> None:
    pair = (tiny_model(), TOKENIZER)
    own, other = load(pair), load(pair, chat_template=CHATML.replace("assistant", "model"))
    assert own.info.fingerprint != other.info.fingerprint
    same = load(pair, chat_template=CHATML)
    assert own.info.fingerprint == same.info.fingerprint


def test_it_changes_with_an_adapter_and_its_strength() -> None:
    peft = pytest.importorskip("peft")

    def adapted(alpha: int) -> Any:
        model = tiny_model()
        options = {"r": 2, "target_modules": ["q_proj"], "init_lora_weights": False}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model.add_adapter(peft.LoraConfig(lora_alpha=alpha, **options))
        return model

    on, stronger, off = adapted(8), adapted(16), adapted(8)
    assert of(on) == of(off)
    off.disable_adapters()
    assert len({of(model) for model in (tiny_model(), on, stronger, off)}) == 4
