"""Contributions while an answer is written: those of a pass of its own, token by token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from neuron_probes import probe_of
from tiny_models import byte_tokenizer, tiny_model

from energy_guard import load
from energy_guard.backends import Backend, Scripted
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.transformers import Transformers
from energy_guard.errors import InputError, MismatchError
from energy_guard.neurons import AnswerToRead, NeuronProbe, damped, read_contributions
from energy_guard.neurons.llama_cpp import column_norms as norms_module
from energy_guard.neurons.llama_cpp import stand_in
from energy_guard.neurons.watch import watched
from energy_guard.request import Finished, Request, Token
from energy_guard.trace import Trace

Array = np.ndarray[Any, np.dtype[Any]]
PROMPT = tuple(b"the cat sat on the mat and then")
ANSWER = tuple(b" it went to the corner")
REQUEST = Request(ids=PROMPT, max_tokens=20)


@pytest.fixture(params=["llama-cpp", "transformers"])
def backend(
    request: pytest.FixtureRequest,
    tiny_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Backend]:
    monkeypatch.setattr(norms_module, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    if request.param == "transformers":
        yield Transformers(tiny_model(), byte_tokenizer(), batch_size=3)
        return
    backend = load(tiny_path, n_ctx=512, n_threads=1, type_k=0, type_v=0)
    yield backend
    assert isinstance(backend, LlamaCpp)
    backend.engine.close()


def traces(events: Any) -> list[Trace]:
    found = {e.sequence: e.trace for e in events if isinstance(e, Finished)}
    return [found[number] for number in sorted(found)]


def expected(backend: Backend, probe: NeuronProbe, request: Request, ids: list[int]) -> Array:
    """The log-odds of each token by itself, read afterwards."""
    answers = [AnswerToRead(request, tuple(ids), (t,)) for t in range(len(ids))]
    return np.array([probe.log_odds(each) for each in read_contributions(backend, answers)])


@pytest.mark.parametrize("steps", [True, False])
def test_a_written_answer_has_the_log_odds_of_each_token(backend: Backend, steps: bool) -> None:
    probe = probe_of(backend.info)
    with backend.session() as session, watched(backend, session, probe) as seen:
        [trace] = traces(seen.generate([REQUEST], steps=steps))
    assert len(trace) > 10
    found = trace.extras[probe.name][: trace.content_end]
    wanted = expected(backend, probe, REQUEST, trace.ids[: trace.content_end].tolist())
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert np.ptp(found) > 0.01, "tokens differ, so that off by one is seen"


@pytest.mark.parametrize("fast", [True, False])
def test_answers_that_are_read_have_them_too(backend: Backend, fast: bool) -> None:
    """Several at once, with prompts and answers of different lengths."""
    probe = probe_of(backend.info)
    pairs = [
        (REQUEST, list(ANSWER)),
        (Request(ids=PROMPT[:5]), list(ANSWER[:3])),
        (Request(ids=PROMPT[3:]), list(ANSWER * 3)),
        (Request(ids=PROMPT[7:]), list(ANSWER[2:])),
    ]
    with backend.session() as session, watched(backend, session, probe) as seen:
        found = traces(seen.replay(pairs, fast=fast, steps=False))
    for (request, ids), trace in zip(pairs, found, strict=True):
        wanted = expected(backend, probe, request, ids)
        np.testing.assert_allclose(trace.extras[probe.name], wanted, rtol=1e-4, atol=1e-5)


def test_answers_of_one_batch_have_their_own(backend: Backend) -> None:
    probe = probe_of(backend.info)
    requests = [REQUEST, Request(ids=PROMPT[:9], max_tokens=7)]
    with backend.session() as session, watched(backend, session, probe) as seen:
        found = traces(seen.generate(requests))
    for request, trace in zip(requests, found, strict=True):
        ids = trace.ids[: trace.content_end].tolist()
        wanted = expected(backend, probe, request, ids)
        seen_here = trace.extras[probe.name][: trace.content_end]
        np.testing.assert_allclose(seen_here, wanted, rtol=1e-4, atol=1e-5)


def test_an_answer_to_the_same_prompt_again_has_the_same_ones(backend: Backend) -> None:
    """Its prompt is in a cache, whole or as far as it is the same."""
    probe = probe_of(backend.info)
    longer = Request(ids=PROMPT + tuple(b" it ran"), max_tokens=12)
    with backend.session() as session, watched(backend, session, probe) as seen:
        once = [traces(seen.generate([request]))[0] for request in (REQUEST, longer, REQUEST)]
    first, again = once[0].extras[probe.name], once[2].extras[probe.name]
    np.testing.assert_allclose(first, again, rtol=1e-4)
    ids = once[1].ids[: once[1].content_end].tolist()
    wanted = expected(backend, probe, longer, ids)
    found = once[1].extras[probe.name][: len(ids)]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_what_is_written_is_the_same_with_and_without(backend: Backend) -> None:
    probe = probe_of(backend.info)
    with backend.session() as session:
        [bare] = traces(session.generate([REQUEST]))
    with backend.session() as session, watched(backend, session, probe) as seen:
        [found] = traces(seen.generate([REQUEST]))
    np.testing.assert_array_equal(found.ids, bare.ids)
    np.testing.assert_array_equal(found.token_logit, bare.token_logit)
    with backend.session() as session:
        [after] = traces(session.generate([REQUEST]))
    assert probe.name not in after.extras
    np.testing.assert_array_equal(after.token_logit, bare.token_logit)


def test_what_is_asked_on_the_side_is_not_watched(backend: Backend) -> None:
    probe = probe_of(backend.info)
    with backend.session() as session, watched(backend, session, probe) as seen:
        [trace] = traces(seen.generate([REQUEST], private=True))
    assert probe.name not in trace.extras


def test_an_end_token_that_is_not_evaluated_is_missing_and_not_0(backend: Backend) -> None:
    probe = probe_of(backend.info)
    request = Request(ids=PROMPT, max_tokens=400)
    with backend.session() as session, watched(backend, session, probe) as seen:
        [trace] = traces(seen.generate([request], steps=False))
    values = trace.extras[probe.name]
    if trace.finish_reason == "eos":
        assert np.isnan(values[trace.content_end :]).all()
    assert np.isfinite(values[: trace.content_end - 1]).all()
    stored = Trace.from_json(trace.to_json())
    np.testing.assert_array_equal(stored.extras[probe.name], values)


def test_a_damped_model_is_watched_as_it_runs(backend: Backend) -> None:
    """The neurons that are off contribute nothing: what is left is the intercept."""
    probe = probe_of(backend.info)
    positive = [n for n in probe.neurons if n.weight > 0]
    positive_only = probe_of(backend.info, neurons=tuple(positive))
    with (
        damped(backend, positive_only, 0),
        backend.session() as session,
        watched(backend, session, positive_only) as seen,
    ):
        [trace] = traces(seen.replay([(REQUEST, list(ANSWER))]))
    assert trace.extras[positive_only.name].tolist() == [-0.5] * len(ANSWER)


def test_a_probe_of_another_model_is_refused(backend: Backend) -> None:
    other = probe_of(backend.info, model="00ff")
    with (
        backend.session() as session,
        pytest.raises(MismatchError, match="made for the model 00ff"),
        watched(backend, session, other),
    ):
        pytest.fail("it was taken")


def test_a_probe_of_another_shape_is_refused(backend: Backend) -> None:
    other = probe_of(backend.info, shape=(3, 500))
    with (
        backend.session() as session,
        pytest.raises(MismatchError, match="of 3 layers of 500 neurons"),
        watched(backend, session, other),
    ):
        pytest.fail("it was taken")


def test_a_backend_that_shows_no_neurons_is_refused() -> None:
    backend = Scripted.saying()
    probe = probe_of(backend.info)
    with (
        backend.session() as session,
        pytest.raises(InputError, match="does not show the neurons"),
        watched(backend, session, probe),
    ):
        pytest.fail("it was taken")


def test_layers_that_are_not_shown_are_missing_and_not_0(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(norms_module, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    monkeypatch.setattr("energy_guard.neurons.llama_cpp.watch.ENTERING", ("named_otherwise",))
    backend = load(tiny_path, n_ctx=512, n_threads=1)
    probe = probe_of(backend.info)
    with backend.session() as session, watched(backend, session, probe) as seen:
        [trace] = traces(seen.generate([REQUEST]))
    assert np.isnan(trace.extras[probe.name]).all()


@pytest.mark.parametrize("missing", [0, 1])
def test_nodes_in_another_order_are_missing_once_at_most(tiny_path: Path, missing: int) -> None:
    """Which nodes are wanted is known by their order: it may stop being right."""
    backend = load(tiny_path, n_ctx=512, n_threads=1, type_k=0, type_v=0)
    assert isinstance(backend, LlamaCpp)
    probe = probe_of(backend.info)
    with backend.session() as session, watched(backend, session, probe) as seen:
        known = vars(backend.engine._ctx)[stand_in._NODES]._one_token
        events = seen.generate([REQUEST])
        tokens = (event for event in events if isinstance(event, Token))
        for _ in range(5):
            next(tokens)
        order = known._known
        assert order.count(1) == 4, "two of each layer"
        assert len(order) > 40
        # Names are looked at one node too early or too late, and from there on everywhere.
        known._known = b"\0" + order[:-1] if missing else order[1:] + b"\0"
        for _ in range(3):
            next(tokens)
        assert known._known == order, "learnt again"
        [trace] = traces(events)
    values = trace.extras[probe.name]
    values = values[: trace.content_end]
    wanted = expected(backend, probe, REQUEST, trace.ids[: trace.content_end].tolist())
    seen_at = np.isfinite(values)
    assert (~seen_at).sum() == missing
    np.testing.assert_allclose(values[seen_at], wanted[seen_at], rtol=1e-4, atol=1e-5)
    backend.engine.close()


def test_a_conversation_is_not_read_anew_in_each_session(tiny_path: Path) -> None:
    backend = load(tiny_path, n_ctx=512, n_threads=1)
    assert isinstance(backend, LlamaCpp)
    probe = probe_of(backend.info)
    for _ in range(2):
        with backend.session() as session, watched(backend, session, probe) as seen:
            held = backend.engine.n_tokens
            list(seen.generate([REQUEST]))
        assert backend.engine.n_tokens == 0, "its own context has nothing in it"
    assert held > len(PROMPT)
    backend.engine.close()


def test_a_sliding_window_is_watched_at_the_right_tokens() -> None:
    """Its cache forgets what has left the window, and counts on."""
    model = tiny_model("gemma3_text", num_key_value_heads=2, head_dim=16, sliding_window=24)
    backend = Transformers(model, byte_tokenizer())
    probe = probe_of(backend.info)
    with backend.session() as session, watched(backend, session, probe) as seen:
        [trace] = traces(seen.replay([(REQUEST, list(ANSWER))]))
    wanted = expected(backend, probe, REQUEST, list(ANSWER))
    np.testing.assert_allclose(trace.extras[probe.name], wanted, rtol=1e-4, atol=1e-5)
