"""Contributions in transformers: against a direct computation, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from direct_contributions import direct_means
from tiny_models import byte_tokenizer, tiny_model

from energy_guard.backends import Backend, Scripted
from energy_guard.backends.transformers import Transformers
from energy_guard.errors import EngineError, InputError, PromptError
from energy_guard.neurons import AnswerToRead, Contributions, read_contributions
from energy_guard.neurons.transformers import contributions as module
from energy_guard.request import Request

TOKENIZER = byte_tokenizer()
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama with biases": ("llama", {"mlp_bias": True}),
    "qwen2": ("qwen2", {"num_key_value_heads": 2}),
    "gemma3": ("gemma3_text", {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 24}),
    "mistral": ("mistral", {}),
    "olmo2": ("olmo2", {"num_key_value_heads": 2}),
}
PROMPT = tuple(b"the cat sat on the mat and then")
ANSWER = tuple(b" it went to the corner")
EXACT = (3, 4, 7)


def to_read(
    answer: tuple[int, ...] = ANSWER,
    exact: tuple[int, ...] = EXACT,
    prompt: tuple[int, ...] = PROMPT,
) -> AnswerToRead:
    return AnswerToRead(Request(ids=prompt), answer, exact)


def contributions(model: Any, *answers: AnswerToRead) -> list[Contributions]:
    return list(read_contributions(Transformers(model, TOKENIZER), answers))


def made(name: str) -> Any:
    family, changes = FAMILIES[name]
    model = tiny_model(family, **changes)
    for parameter in model.parameters():  # biases and gains are 0 or 1 at first
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.arange(len(parameter)).cos()
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_contributions_are_those_of_weights_and_activations(name: str) -> None:
    model = made(name)
    [found] = contributions(model, to_read())
    exact, rest = direct_means(model, PROMPT, ANSWER, EXACT)
    assert found.rest is not None
    assert (found.exact.shape, found.exact.dtype) == ((2, 96), np.float32)
    np.testing.assert_allclose(found.exact, exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.rest, rest, rtol=1e-5, atol=1e-5)
    shifted, _ = direct_means(model, PROMPT, ANSWER, [at + 1 for at in EXACT])
    assert np.abs(found.exact - shifted).max() > 0.01, "off by one is seen"


def test_answers_of_one_batch_do_not_see_each_other() -> None:
    model = tiny_model()
    answers = [
        to_read(),
        to_read(ANSWER[:5], (0,), PROMPT[:3]),
        to_read(ANSWER[:1], (0,)),
        to_read(ANSWER * 3, (60, 2), PROMPT * 2),
    ]
    together = contributions(model, *answers)
    for answer, found in zip(answers, together, strict=True):
        [alone] = contributions(model, answer)
        np.testing.assert_allclose(found.exact, alone.exact, rtol=1e-5, atol=1e-6)
        assert (found.rest is None) == (alone.rest is None) == (len(answer.answer) == 1)
        if found.rest is not None and alone.rest is not None:
            np.testing.assert_allclose(found.rest, alone.rest, rtol=1e-5, atol=1e-6)


def test_a_pass_has_a_bounded_number_of_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    model, widths = tiny_model(), []
    answers = [to_read(ANSWER[: 5 + i], (i,)) for i in range(7)]
    expected = contributions(model, *answers)
    model.register_forward_pre_hook(
        lambda _, __, given: widths.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    monkeypatch.setattr(module, "_POSITIONS", 80)
    for one, other in zip(contributions(model, *answers), expected, strict=True):
        np.testing.assert_allclose(one.exact, other.exact, rtol=1e-5, atol=1e-6)
    assert all(rows * columns <= 80 for rows, columns in widths)
    assert sum(rows for rows, _ in widths) == len(answers) > len(widths) > 1


def test_nothing_as_large_as_layers_times_tokens_times_neurons_is_kept() -> None:
    model = tiny_model(num_hidden_layers=4)
    [found] = contributions(model, to_read(ANSWER * 4, EXACT))
    assert found.exact.nbytes == 4 * 4 * 96
    assert found.exact.base is None, "a view would keep what it is a part of"


def test_precision_is_float32_whatever_the_model_computes_in() -> None:
    model = tiny_model().to(torch.bfloat16)
    [found] = contributions(model, to_read())
    exact, _ = direct_means(model.to(torch.float32), PROMPT, ANSWER, EXACT)
    assert found.exact.dtype == np.float32
    assert np.corrcoef(found.exact.ravel(), exact.ravel())[0, 1] > 0.99


def test_a_model_on_several_devices_has_the_same_contributions() -> None:
    from accelerate import cpu_offload

    [expected] = contributions(tiny_model(), to_read())
    [found] = contributions(cpu_offload(tiny_model()), to_read())
    np.testing.assert_array_equal(found.exact, expected.exact)


def test_the_engine_is_held_meanwhile_and_left_as_it_was() -> None:
    model = tiny_model()
    backend = Transformers(model, TOKENIZER)
    reading = read_contributions(backend, [to_read(), to_read()])
    next(reading)
    assert backend._lock.locked
    reading.close()  # type: ignore[attr-defined]
    assert not backend._lock.locked
    assert not any(part._forward_hooks for part in model.modules())


def test_hooks_are_gone_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()

    def fail(*_: object) -> None:
        raise RuntimeError("no memory")

    model.model.layers[1].self_attn.register_forward_pre_hook(fail)
    with pytest.raises(EngineError, match="no memory"):
        contributions(model, to_read())
    assert not any(part._forward_hooks for part in model.modules())


def test_a_layer_that_writes_nothing_has_no_contributions() -> None:
    model = tiny_model()
    model.model.layers[1].mlp.down_proj.weight.data.zero_()
    with pytest.raises(EngineError, match="not finite"):
        contributions(model, to_read())


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("gpt2", "no gated MLP"),
        ("mixtral", "mixture of experts"),
        ("phi3", r"gate and up projection in one \(gate_up_proj\)"),
    ],
)
def test_a_model_with_other_neurons_is_refused(family: str, reason: str) -> None:
    with pytest.raises(InputError, match=rf"{reason}[\s\S]*such as Llama"):
        contributions(tiny_model(family), to_read())


def test_a_model_with_an_mlp_in_some_layers_only_is_refused() -> None:
    model = tiny_model()
    model.model.layers[1].mlp = torch.nn.Identity()
    with pytest.raises(InputError, match="1 of 2 layers of LlamaForCausalLM have a gated MLP"):
        contributions(model, to_read())


def test_layers_of_different_widths_are_refused() -> None:
    model = tiny_model()
    model.model.layers[1].mlp.down_proj = torch.nn.Linear(80, 64, bias=False)
    with pytest.raises(InputError, match="from 80 to 96 neurons"):
        contributions(model, to_read())


def test_an_adapter_around_a_projection_is_refused() -> None:
    model = tiny_model()
    mlp = model.model.layers[0].mlp
    mlp.down_proj = torch.nn.Sequential(mlp.down_proj)
    with pytest.raises(InputError, match=r"Sequential modules[\s\S]*Merge"):
        contributions(model, to_read())


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused(dtype: torch.dtype) -> None:
    model = tiny_model()
    down = model.model.layers[1].mlp.down_proj
    down.weight = torch.nn.Parameter(down.weight.to(dtype), requires_grad=False)
    with pytest.raises(InputError, match=r"model\.layers\.1\.mlp\.down_proj are quantised"):
        contributions(model, to_read())


def test_a_backend_that_shows_no_neurons_is_refused() -> None:
    backend: Backend = Scripted.saying()
    with pytest.raises(InputError, match="scripted does not show the neurons"):
        read_contributions(backend, [to_read()])


@pytest.mark.parametrize("exact", [(), (22,), (-1,), (3, 3)])
def test_an_exact_answer_outside_the_answer_is_refused(exact: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="the exact answer"):
        to_read(exact=exact)


def test_an_answer_that_does_not_fit_is_refused_before_anything_is_read() -> None:
    with pytest.raises(PromptError, match="context has room for"):
        contributions(tiny_model(), to_read(ANSWER * 20))


def test_no_answers_have_no_contributions() -> None:
    assert contributions(tiny_model()) == []


@pytest.mark.slow
@pytest.mark.model
def test_the_embedded_model_has_the_contributions_of_its_weights(
    demo_transformers: Transformers,
) -> None:
    request = Request.chat("What is the capital of France?")
    prompt, answer = demo_transformers.encode(request, "The capital of France is Paris.")
    read = AnswerToRead(request, tuple(answer), (len(answer) - 2,))
    [found] = read_contributions(demo_transformers, [read])
    exact, rest = direct_means(demo_transformers.engine, prompt, answer, read.exact)
    assert found.rest is not None
    assert found.exact.shape == (30, 1536)
    np.testing.assert_allclose(found.exact, exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.rest, rest, rtol=1e-5, atol=1e-5)
