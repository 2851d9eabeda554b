"""Contributions in llama.cpp: those of transformers on the same weights, and what is refused."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import pytest
from tiny_gguf import HIDDEN, LAYERS, write_tiny_gguf, write_tiny_lora

from energy_guard import load
from energy_guard.backends.demo_model import demo_path
from energy_guard.backends.gguf_file import fingerprint, read_tensors
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.transformers import Transformers
from energy_guard.errors import EngineError, InputError, ModelFileError
from energy_guard.neurons import AnswerToRead, Contributions, read_contributions
from energy_guard.neurons.llama_cpp import column_norms as norms_module
from energy_guard.neurons.llama_cpp import contributions, mlp_tensors, second_context
from energy_guard.neurons.llama_cpp.column_norms import column_norms
from energy_guard.neurons.llama_cpp.nodes import names_of
from energy_guard.neurons.llama_cpp.second_context import SecondContext
from energy_guard.request import Request

Array = np.ndarray[Any, np.dtype[Any]]
PROMPT = tuple(b"the cat sat on the mat and then")
ANSWER = tuple(b" it went to the corner")
EXACT = (3, 4, 7)
EXACTLY = {"n_ctx": 512, "n_threads": 1, "type_k": 0, "type_v": 0}  # keys and values in float32


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setattr(norms_module, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    return tmp_path / "cache" / "column-norms"


@pytest.fixture
def backend(tiny_path: Path) -> Iterator[LlamaCpp]:
    backend = load(tiny_path, **EXACTLY)
    assert isinstance(backend, LlamaCpp)
    yield backend
    backend.engine.close()


def to_read(
    answer: tuple[int, ...] = ANSWER,
    exact: tuple[int, ...] = EXACT,
    prompt: tuple[int, ...] = PROMPT,
) -> AnswerToRead:
    return AnswerToRead(Request(ids=prompt), answer, exact)


def one(backend: LlamaCpp, answer: AnswerToRead) -> Contributions:
    [found] = read_contributions(backend, [answer])
    return found


def alike(found: Contributions, expected: Contributions, tolerance: float) -> bool:
    """Whether every neuron's contributions are, in proportion to themselves."""
    assert found.rest is not None
    assert expected.rest is not None
    pairs = ((found.exact, expected.exact), (found.rest, expected.rest))
    return all(bool((np.abs(a - b) <= tolerance * b).all()) for a, b in pairs)


def test_contributions_are_those_of_transformers_on_the_same_weights(
    backend: LlamaCpp, tiny_path: Path
) -> None:
    [expected] = read_contributions(load(tiny_path, "transformers"), [to_read()])
    found = one(backend, to_read())
    assert (found.exact.shape, found.exact.dtype) == ((LAYERS, HIDDEN), np.float32)
    assert alike(found, expected, 1e-4)
    neighbour = one(backend, to_read(exact=tuple(at + 1 for at in EXACT)))
    assert not alike(neighbour, expected, 0.1), "off by one is seen"


class Kept:
    """Keeps what it is shown."""

    def __init__(self, names: list[str], kept: dict[str, Array]) -> None:
        self.names = names_of(names)
        self.take = kept.__setitem__


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def gelu(x: Array) -> Array:
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


@pytest.mark.parametrize(
    ("architecture", "activation", "tolerance"),
    [("llama", silu, 1e-5), ("gemma", gelu, 2e-3)],  # llama.cpp looks GELU up in a float16 table
)
def test_contributions_are_those_of_weights_and_activations(
    architecture: str, activation: Callable[[Array], Array], tolerance: float, tmp_path: Path
) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf", architecture=architecture)
    backend = load(path, **EXACTLY)
    assert isinstance(backend, LlamaCpp)
    found = one(backend, to_read())
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    normed: dict[str, Array] = {}
    names = [f"ffn_norm-{layer}" for layer in range(LAYERS)]
    with SecondContext(backend.engine, 64, Kept(names, normed)) as context:
        context.read(PROMPT, at=0, shown=False)
        context.read(ANSWER, at=len(PROMPT), shown=True)
    for layer, name in enumerate(names):
        gate, up, down = (
            tensors[f"blk.{layer}.ffn_{part}.weight"].astype(np.float64)
            for part in ("gate", "up", "down")
        )
        z = activation(normed[name] @ gate.T) * (normed[name] @ up.T)
        tokens = np.abs(z) * np.linalg.norm(down, axis=0)
        tokens /= np.linalg.norm(z @ down.T, axis=1)[:, None]
        expected = tokens[list(EXACT)].mean(axis=0)
        np.testing.assert_allclose(found.exact[layer], expected, rtol=tolerance, atol=tolerance)
    backend.engine.close()


def test_an_answer_in_several_batches_has_the_same_contributions(
    backend: LlamaCpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = one(backend, to_read())
    monkeypatch.setattr(second_context, "_BATCH", 5)
    assert alike(one(backend, to_read()), expected, 1e-4)


def test_answers_do_not_see_each_other(backend: LlamaCpp) -> None:
    answers = [to_read(ANSWER * 8, (1, 150)), to_read(), to_read(ANSWER[:1], (0,), PROMPT[:2])]
    together = list(read_contributions(backend, answers))
    for answer, found in zip(answers, together, strict=True):
        alone = one(backend, answer)
        np.testing.assert_allclose(found.exact, alone.exact, rtol=1e-4)
        assert (found.rest is None) == (len(answer.answer) == 1)


def test_the_engine_itself_does_not_notice(backend: LlamaCpp) -> None:
    request = Request(ids=PROMPT, max_tokens=12)
    before = list(backend.generate([request]))[-1]
    held = backend.engine.input_ids[: backend.engine.n_tokens].tolist()
    reading = read_contributions(backend, [to_read(), to_read()])
    next(reading)
    assert backend._lock.locked
    reading.close()  # type: ignore[attr-defined]
    assert not backend._lock.locked
    assert backend.engine.input_ids[: backend.engine.n_tokens].tolist() == held
    after = list(backend.generate([request]))[-1]
    np.testing.assert_array_equal(
        after.trace.signal("token_logit"), before.trace.signal("token_logit")
    )


def test_a_closed_engine_is_refused(tiny_path: Path) -> None:
    backend = load(tiny_path, **EXACTLY)
    assert isinstance(backend, LlamaCpp)
    backend.engine.close()
    with pytest.raises(EngineError, match="closed"):
        one(backend, to_read())


def test_an_engine_that_is_closed_meanwhile_is_an_error(tiny_path: Path) -> None:
    backend = load(tiny_path, **EXACTLY)
    assert isinstance(backend, LlamaCpp)
    reading = read_contributions(backend, [to_read(), to_read()])
    next(reading)
    backend.engine.close()
    with pytest.raises(EngineError, match="closed"):
        next(reading)


def test_an_adapter_is_refused(tiny_path: Path, tmp_path: Path) -> None:
    lora = write_tiny_lora(tmp_path / "lora.gguf", shape_a=(4, 64), shape_b=(64, 4))
    backend = load(tiny_path, lora_path=str(lora), **EXACTLY)
    assert isinstance(backend, LlamaCpp)
    with pytest.raises(InputError, match=r"with an adapter[\s\S]*Merge"):
        one(backend, to_read())
    backend.engine.close()


def test_a_layer_that_is_not_shown_for_every_token_is_an_error(
    backend: LlamaCpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contributions, "LEAVING", "named_otherwise")
    with pytest.raises(EngineError, match=r"layer 0 for every token \(0 of 22\)"):
        one(backend, to_read())


def test_a_failing_decode_is_an_error(backend: LlamaCpp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_cpp.llama_cpp.llama_decode", lambda *_: 2)
    with pytest.raises(EngineError, match="status 2"):
        one(backend, to_read())


def test_a_second_context_that_cannot_be_made_is_an_error(
    backend: LlamaCpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_cpp.llama_cpp.llama_init_from_model", lambda *_: None)
    with pytest.raises(EngineError, match=r"second context of 256 tokens"):
        one(backend, to_read())


def test_no_answers_have_no_contributions(backend: LlamaCpp) -> None:
    assert list(read_contributions(backend, [])) == []


# What is read from the file


def close(writer: gguf.GGUFWriter) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert writer.path is not None
    return Path(writer.path)


def weights_of(path: Path) -> list[Array]:
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    names = [f"blk.{layer}.ffn_down.weight" for layer in range(LAYERS)]
    return [gguf.dequantize(tensors[name].data, tensors[name].tensor_type) for name in names]


@pytest.mark.parametrize("dtype", ["f32", "f16", "q8_0", "q4_0", "q4_1", "q5_0"])
def test_norms_are_those_of_the_unpacked_columns(dtype: str, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf", dtype=dtype)
    expected = [np.linalg.norm(weights.astype(np.float64), axis=0) for weights in weights_of(path)]
    np.testing.assert_allclose(column_norms(path), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "BF16"])
def test_norms_of_types_in_blocks_of_256(name: str, tmp_path: Path) -> None:
    """Any bytes are weights; those below 60 are no infinite scales."""
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(0).integers(0, 60, (32, 512 // block * size)).astype(np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    for part in ("gate", "up", "down"):
        writer.add_tensor(f"blk.0.ffn_{part}.weight", raw, raw_dtype=kind)
    path = close(writer)
    expected = np.linalg.norm(gguf.dequantize(raw, kind).astype(np.float64), axis=0)
    np.testing.assert_allclose(column_norms(path), [expected], rtol=1e-6)


def test_norms_are_read_from_the_file_once(
    tiny_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = column_norms(tiny_path)
    assert [file.name for file in cache.iterdir()] == [f"{fingerprint(tiny_path)}.npz"]
    monkeypatch.setattr(gguf, "dequantize", None)
    np.testing.assert_array_equal(column_norms(tiny_path), first)


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04"])
def test_a_damaged_cache_is_made_anew(damage: bytes, tiny_path: Path, cache: Path) -> None:
    first = column_norms(tiny_path)
    [file] = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage)
    np.testing.assert_array_equal(column_norms(tiny_path), first)
    assert file.read_bytes() == whole


def test_norms_are_read_where_no_cache_can_be_written(tiny_path: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text("a file where the folder would be")
    assert column_norms(tiny_path).shape == (LAYERS, HIDDEN)


def write_mlp(path: Path, layers: Mapping[int, Mapping[str, tuple[int, ...]]]) -> Path:
    """A file with nothing but the given tensors of MLPs."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.ones((4, 32), np.float32))
    for layer, parts in layers.items():
        for name, shape in parts.items():
            writer.add_tensor(f"blk.{layer}.{name}", np.ones(shape, np.float32))
    return close(writer)


UNGATED = {"ffn_norm.weight": (32,), "ffn_up.weight": (96, 32), "ffn_down.weight": (32, 96)}
GATED = UNGATED | {"ffn_gate.weight": (96, 32)}
OTHERS: dict[str, tuple[str, dict[int, dict[str, tuple[int, ...]]]]] = {
    "GPT-2": ("no gated MLP: layer 0 lacks ffn_gate.weight", {0: UNGATED}),
    "fused": ("or has them fused", {0: UNGATED | {"ffn_up.weight": (192, 32)}}),
    "experts": ("mixture of experts", {0: GATED | {"ffn_gate_inp.weight": (4, 32)}}),
    "experts alone": ("mixture of experts", {0: {"ffn_down_exps.weight": (4, 32, 96)}}),
    "a bias": (r"have ffn_down\.bias", {0: GATED | {"ffn_down.bias": (32,)}}),
    "a norm inside": ("have ffn_sub_norm", {0: GATED | {"ffn_sub_norm.weight": (96,)}}),
    "none": ("an MLP in every layer", {}),
    "a layer without": ("an MLP in every layer", {0: GATED, 2: GATED}),
    "widths": (
        "from 64 to 96 neurons",
        {0: GATED, 1: {name: tuple(64 if n == 96 else n for n in s) for name, s in GATED.items()}},
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_with_other_neurons_is_refused(name: str, tmp_path: Path, cache: Path) -> None:
    reason, layers = OTHERS[name]
    path = write_mlp(tmp_path / "model.gguf", layers)
    with pytest.raises(InputError, match=rf"{reason}[\s\S]*such as Llama"):
        column_norms(path)
    assert not cache.exists(), "what is refused is not remembered"


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"kind": 28}, "type F64"), ({"kind": 9999}, "type 9999"), ({"shape": (96,)}, "type 0")],
)
def test_weights_that_cannot_be_unpacked_are_refused(
    changes: dict[str, Any], named: str, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = [replace(tensor, **changes) for tensor in read_tensors(tiny_path)]
    monkeypatch.setattr(mlp_tensors, "read_tensors", lambda _: tensors)
    with pytest.raises(InputError, match=rf"{named}, which cannot be unpacked[\s\S]*Q4_K"):
        column_norms(tiny_path)


def test_a_file_that_ends_before_its_weights_is_refused(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = [replace(tensor, start=10**9) for tensor in read_tensors(tiny_path)]
    monkeypatch.setattr(mlp_tensors, "read_tensors", lambda _: tensors)
    with pytest.raises(ModelFileError, match=r"ends before blk\.0\.ffn_down\.weight does"):
        column_norms(tiny_path)


@pytest.mark.model
def test_the_embedded_model_has_contributions(demo: LlamaCpp) -> None:
    request = Request.chat("What is the capital of France?")
    _, answer = demo.encode(request, "The capital of France is Paris.")
    found = one(demo, AnswerToRead(request, tuple(answer), (len(answer) - 2,)))
    assert found.exact.shape == (30, 1536)
    assert found.exact.min() >= 0
    assert (found.exact.sum(axis=1) >= 1).all(), "the columns add up to what is written"


@pytest.mark.slow
@pytest.mark.model
def test_the_embedded_model_has_the_contributions_of_transformers(
    demo_transformers: Transformers, tmp_path: Path
) -> None:
    """On its weights in float32: otherwise llama.cpp rounds activations to 8 bits, too."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.nthread = 0, True, 1
    path = tmp_path / "float32.gguf"
    files = str(demo_path()).encode(), str(path).encode()
    assert llama_cpp.llama_model_quantize(*files, ctypes.byref(params)) == 0
    backend = load(path, **EXACTLY)
    assert isinstance(backend, LlamaCpp)
    request = Request.chat("What is the capital of France?")
    _, ids = backend.encode(request, "The capital of France is Paris, and not Lyon.")
    answer = AnswerToRead(request, tuple(ids), (5, 6))
    found = one(backend, answer)
    backend.engine.close()
    [expected] = read_contributions(demo_transformers, [answer])
    np.testing.assert_allclose(found.exact, expected.exact, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.rest, expected.rest, rtol=1e-4, atol=1e-6)
