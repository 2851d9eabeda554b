"""Damping in llama.cpp: what zeroed columns do, and an engine that is as it was afterwards."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_gguf import LAYERS, write_tiny_gguf, write_tiny_lora

from energy_guard import Guard, capture, load
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.transformers import Transformers
from energy_guard.errors import EngineBusyError, EngineError, InputError
from energy_guard.neurons import AnswerToRead, Neuron, damped, read_contributions
from energy_guard.neurons.llama_cpp import column_norms as norms_module
from energy_guard.neurons.llama_cpp import nodes
from energy_guard.neurons.llama_cpp.stand_in import factors_of
from energy_guard.request import Finished, Request
from energy_guard.trace import Trace

Array = np.ndarray[Any, np.dtype[Any]]
CHOSEN = (Neuron(0, 3), Neuron(1, 95), Neuron(0, 40), Neuron(1, 191))
PROMPT = tuple(b"the cat sat on the mat and then")
ANSWER = tuple(b" it went to the corner")
REQUEST = Request(ids=PROMPT, max_tokens=24)
EXACTLY = {"n_ctx": 512, "n_threads": 1, "type_k": 0, "type_v": 0}  # keys and values in float32


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms_module, "user_cache_path", lambda *_, **__: tmp_path / "cache")


def llama(path: Path, **options: Any) -> LlamaCpp:
    backend = load(path, **(EXACTLY | options))
    assert isinstance(backend, LlamaCpp)
    return backend


@pytest.fixture
def backend(tiny_path: Path) -> Iterator[LlamaCpp]:
    backend = llama(tiny_path)
    yield backend
    backend.engine.close()


def read(backend: Any, request: Request = REQUEST) -> Trace:
    """Of a given answer: its numbers do not depend on what the model would write."""
    events = list(backend.replay(request, ANSWER))
    assert isinstance(events[-1], Finished)
    return events[-1].trace


def written(backend: Any, request: Request = REQUEST) -> Trace:
    event = list(backend.generate([request]))[-1]
    assert isinstance(event, Finished)
    return event.trace


def numbers(trace: Trace) -> Array:
    return np.concatenate([trace.token_logit, trace.log_partition, trace.entropy, trace.row_mean])


def test_a_factor_of_zero_equals_zeroed_columns(backend: LlamaCpp, tiny_path: Path) -> None:
    """In transformers, on the same float32 weights."""
    other = load(tiny_path, "transformers")
    assert isinstance(other, Transformers)
    model: Any = other.engine
    for neuron in CHOSEN:
        model.model.layers[neuron.layer].mlp.down_proj.weight.data[:, neuron.index] = 0
    before = numbers(read(backend))
    with damped(backend, CHOSEN, 0):
        found = numbers(read(backend))
    np.testing.assert_allclose(found, numbers(read(other)), atol=2e-4)
    assert np.abs(found - before).max() > 0.01


@pytest.mark.parametrize("factor", [0.3, 2.5])
def test_a_factor_is_that_of_transformers(
    backend: LlamaCpp, tiny_path: Path, factor: float
) -> None:
    other = load(tiny_path, "transformers")
    with damped(backend, CHOSEN, factor), damped(other, CHOSEN, factor):
        np.testing.assert_allclose(numbers(read(backend)), numbers(read(other)), atol=2e-4)
        assert np.abs(numbers(read(backend)) - numbers(read(llama(tiny_path)))).max() > 0.01


@pytest.mark.parametrize("dtype", ["q8_0", "q4_0", "q4_1", "f16"])
def test_weights_of_any_type_are_damped(dtype: str, tmp_path: Path) -> None:
    backend = llama(write_tiny_gguf(tmp_path / "model.gguf", dtype=dtype))
    before = numbers(read(backend))
    [found] = read_contributions(backend, [AnswerToRead(REQUEST, ANSWER, (3,))])
    assert all(found.exact[n.layer, n.index] > 0 for n in CHOSEN)
    with damped(backend, CHOSEN, 0):
        inside = numbers(read(backend))
        [found] = read_contributions(backend, [AnswerToRead(REQUEST, ANSWER, (3,))])
    assert np.abs(inside - before).max() > 0.01
    assert all(found.exact[n.layer, n.index] == 0 for n in CHOSEN)
    np.testing.assert_array_equal(numbers(read(backend)), before)
    backend.engine.close()


def test_contributions_inside_are_those_of_the_damped_model(
    backend: LlamaCpp, tiny_path: Path
) -> None:
    answer = AnswerToRead(REQUEST, ANSWER, (3, 4))
    other = load(tiny_path, "transformers")
    with damped(backend, CHOSEN, 0.5), damped(other, CHOSEN, 0.5):
        [found] = read_contributions(backend, [answer])
        [expected] = read_contributions(other, [answer])
    np.testing.assert_allclose(found.exact, expected.exact, rtol=1e-4)
    assert found.rest is not None
    np.testing.assert_allclose(found.rest, expected.rest, rtol=1e-4)  # type: ignore[arg-type]


def test_a_factor_of_one_changes_nothing(backend: LlamaCpp) -> None:
    before = numbers(written(backend))
    with damped(backend, CHOSEN, 1):
        np.testing.assert_array_equal(numbers(written(backend)), before)


def test_a_factor_of_nearly_one_changes_nearly_nothing(backend: LlamaCpp) -> None:
    """What stands in for the engine's own context is no other engine."""
    before = numbers(read(backend))
    with damped(backend, CHOSEN, 1 + 1e-7):
        np.testing.assert_allclose(numbers(read(backend)), before, atol=1e-4)


def test_the_model_is_bit_for_bit_as_it_was(backend: LlamaCpp, tiny_path: Path) -> None:
    weights = tiny_path.read_bytes()
    before = written(backend)
    with damped(backend, CHOSEN, 0):
        assert written(backend).ids.tolist() != before.ids.tolist()
    after = written(backend)
    np.testing.assert_array_equal(numbers(after), numbers(before))
    np.testing.assert_array_equal(numbers(written(llama(tiny_path))), numbers(before))
    assert tiny_path.read_bytes() == weights


def test_the_model_is_as_it_was_after_an_exception(backend: LlamaCpp) -> None:
    before, context = numbers(written(backend)), backend.engine._ctx
    with pytest.raises(KeyError, match="mine"), damped(backend, CHOSEN, 0):
        written(backend)
        raise KeyError("mine")
    assert backend.engine._ctx is context
    assert "decode" not in vars(context)
    np.testing.assert_array_equal(numbers(written(backend)), before)


def test_what_was_in_the_context_is_still_there(backend: LlamaCpp) -> None:
    llm = backend.engine
    written(backend)
    tokens, ids = llm.n_tokens, llm.input_ids[: llm.n_tokens].tolist()
    with damped(backend, CHOSEN, 0):
        assert llm.n_tokens == 0
        written(backend)
    assert (llm.n_tokens, llm.input_ids[:tokens].tolist()) == (tokens, ids)
    llm.eval([5])
    row = llm._ctx.get_logits_ith(-1)[: llm.n_vocab()]
    llm.reset()
    llm.eval([*ids, 5])
    np.testing.assert_allclose(llm._ctx.get_logits_ith(-1)[: llm.n_vocab()], row, atol=1e-4)


def test_the_cache_of_the_user_is_not_filled_inside(backend: LlamaCpp) -> None:
    kept: dict[Any, Any] = {}
    vars(backend.engine)["cache"] = kept
    with damped(backend, CHOSEN, 0):
        assert backend.engine.cache is None
    assert backend.engine.cache is kept
    vars(backend.engine)["cache"] = None


def test_blocks_inside_each_other_multiply(backend: LlamaCpp) -> None:
    with damped(backend, CHOSEN, 0.5):
        once = numbers(read(backend))
        with damped(backend, CHOSEN[:2], 2):
            twice = numbers(read(backend))
        np.testing.assert_array_equal(numbers(read(backend)), once)
    with damped(backend, CHOSEN[2:], 0.5):
        np.testing.assert_array_equal(numbers(read(backend)), twice)
    assert factors_of(backend.engine) == {}


def test_a_neuron_given_twice_counts_once(backend: LlamaCpp) -> None:
    with damped(backend, CHOSEN, 0.5):
        once = numbers(read(backend))
    with damped(backend, CHOSEN * 2, 0.5):
        np.testing.assert_array_equal(numbers(read(backend)), once)


def test_the_damped_model_is_guarded_and_captured(backend: LlamaCpp) -> None:
    guard = Guard(backend, detector="nll:max", profile=None)
    with damped(backend, CHOSEN, 0):
        ids = written(backend).ids.tolist()
        assert guard.ask(REQUEST).trace.ids.tolist() == ids
        with capture(backend.engine) as traces:
            backend.engine.create_completion(list(PROMPT), max_tokens=24, temperature=0)
    assert traces[0].ids.tolist() == ids


def test_other_threads_are_damped_too(backend: LlamaCpp) -> None:
    found: list[Array] = []
    with damped(backend, CHOSEN, 0):
        thread = threading.Thread(target=lambda: found.append(numbers(read(backend))))
        thread.start()
        thread.join()
        np.testing.assert_array_equal(found[0], numbers(read(backend)))


def test_an_engine_in_use_is_not_damped(backend: LlamaCpp) -> None:
    stream = backend.generate([REQUEST])
    next(stream)
    with pytest.raises(EngineBusyError, match="still open"), damped(backend, CHOSEN, 0):
        pytest.fail("it was taken")
    stream.close()


def test_a_stream_that_is_open_at_the_end_is_an_error_and_not_a_mixture(backend: LlamaCpp) -> None:
    before = numbers(written(backend))
    with damped(backend, CHOSEN, 0):
        stream = backend.generate([REQUEST])
        next(stream)
    with pytest.raises(EngineError, match="another call used the engine"):
        list(stream)
    np.testing.assert_array_equal(numbers(written(backend)), before)


def test_an_engine_may_be_closed_inside(tiny_path: Path) -> None:
    backend = llama(tiny_path)
    with damped(backend, CHOSEN, 0):
        written(backend)
        backend.engine.close()
        with pytest.raises(EngineError, match="closed"):
            written(backend)
    with pytest.raises(EngineError, match="closed"), damped(backend, CHOSEN, 0):
        pytest.fail("it was taken")


def test_nothing_keeps_the_engine_alive_afterwards(tiny_path: Path) -> None:
    backend = llama(tiny_path)
    with damped(backend, CHOSEN, 0):
        written(backend)
    engine = weakref.ref(backend.engine)
    backend.engine.close()
    del backend
    gc.collect()
    assert engine() is None


def test_layers_that_are_not_shown_are_an_error_and_not_undamped(
    backend: LlamaCpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "ENTERING", ("named_otherwise",))
    with (
        pytest.raises(EngineError, match="layer 0, so it was not scaled"),
        damped(backend, CHOSEN, 0),
    ):
        written(backend)


def test_a_second_context_that_cannot_be_made_is_an_error(
    backend: LlamaCpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("llama_cpp.llama_cpp.llama_init_from_model", lambda *_: None)
        with pytest.raises(EngineError, match="second context of 512"), damped(backend, CHOSEN, 0):
            pytest.fail("it was taken")
    assert factors_of(backend.engine) == {}
    written(backend)


@pytest.mark.parametrize("neuron", [Neuron(LAYERS, 0), Neuron(0, 192), Neuron(-1, 0)])
def test_a_neuron_that_there_is_not_is_refused(backend: LlamaCpp, neuron: Neuron) -> None:
    with (
        pytest.raises(InputError, match="2 layers of 192 neurons"),
        damped(backend, [neuron], 1),
    ):
        pytest.fail("it was taken")


def test_an_adapter_is_refused(tiny_path: Path, tmp_path: Path) -> None:
    lora = write_tiny_lora(tmp_path / "lora.gguf", shape_a=(4, 64), shape_b=(64, 4))
    backend = llama(tiny_path, lora_path=str(lora))
    with pytest.raises(InputError, match="adapter"), damped(backend, CHOSEN, 0.5):
        pytest.fail("it was taken")
    backend.engine.close()
