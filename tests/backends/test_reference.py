"""Every signal against `reference.py`, run as a program of its own on the same tokens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from energy_guard import Trace, capture, load
from energy_guard.request import Finished, Grammar, Request, Sampling
from energy_guard.trace import SIGNALS

ROWS = ("log_partition", "row_mean")
AFTER = tuple(name for name in SIGNALS if "marginal" in name or "spilled" in name)
"""Signals that need the row after the token."""

SAMPLED = Sampling(temperature=0.9, seed=11)
PENALISED = Sampling(repeat_penalty=1.3)
SAMPLED_PENALISED = Sampling(temperature=1.2, top_k=0, repeat_penalty=1.2, seed=5)

DEMO_REQUESTS = {
    "chat greedy": Request.chat("What is the capital of France?", max_tokens=30),
    "chat long greedy": Request.chat("Why is the sky blue?", max_tokens=30),
    "chat sampled": Request.chat("Name three animals.", sampling=SAMPLED, max_tokens=30),
    "chat penalised": Request.chat("Tell me a joke.", sampling=PENALISED, max_tokens=30),
    "chat grammar": Request.chat(
        "Is water wet?", constraint=Grammar('root ::= ("yes" | "no") ", " [a-z ]+'), max_tokens=24
    ),
    "chat stop": Request.chat("Count from one to ten.", stop=(",", "2"), max_tokens=30),
    "raw greedy": Request.raw("Once upon a time", max_tokens=30),
    "raw sampled": Request.raw("The three primary colours are", sampling=SAMPLED, max_tokens=30),
    "raw penalised": Request.raw(
        "List: one, two, three,", sampling=SAMPLED_PENALISED, max_tokens=30
    ),
    "raw not ascii": Request.raw("日本の首都は", max_tokens=24),
}

TINY_REQUESTS = {
    "greedy": Request.chat("hello", max_tokens=40),
    "sampled": Request.raw("the cat th", sampling=SAMPLED, max_tokens=40),
    "penalised": Request.raw("abc", sampling=SAMPLED_PENALISED, max_tokens=40),
    "to the end token": Request.raw(
        "end", sampling=Sampling(temperature=1.0, seed=1, logit_bias={259: 6.0}), max_tokens=99
    ),
}


def answer(backend: Any, request: Request) -> Trace:
    """Answer on a fresh state: the prompt is evaluated in the batches that the reference uses."""
    backend.engine.reset()
    return finished(backend.generate([request]))


def finished(events: Any) -> Trace:
    return [event for event in events if isinstance(event, Finished)][-1].trace


def reference(backend: Any, options: dict[str, Any], pairs: list[tuple[Request, Trace]]) -> Any:
    job = {
        "model_path": backend.engine.model_path,
        "llama_options": options,
        "items": [
            {"prompt_ids": backend._prompts.encode(request), "answer_ids": trace.ids.tolist()}
            for request, trace in pairs
        ],
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parents[1] / "reference.py")],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    return json.loads(done.stdout)


def assert_agrees(trace: Trace, expected: dict[str, list[float]], name: str, within: float) -> None:
    """`within` of each number's size (of at least one nat), and never more than 1e-3."""
    ours, theirs = getattr(trace, name), np.array(expected[name])
    ended = trace.finish_reason == "eos"
    if ended and name in ROWS:
        theirs = theirs[:-1]
    elif ended and name in AFTER:
        assert np.isnan(ours[-1]), "the row after an end token is missing, not invented"
        ours, theirs = ours[:-1], theirs[:-1]
    assert ours.shape == theirs.shape
    allowed = np.minimum(within * np.maximum(1.0, np.abs(theirs)), 1e-3)
    off = np.abs(ours - theirs)
    assert np.all(off <= allowed), f"{name} off by up to {off.max()} at token {off.argmax()}"


DEMO_OPTIONS = {"n_ctx": 1024, "n_threads": 1, "n_threads_batch": 1}
TINY_OPTIONS = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1, "type_k": 0, "type_v": 0}


@pytest.fixture(scope="module")
def demo_results(demo: Any) -> dict[str, tuple[Trace, dict[str, list[float]]]]:
    traces = [answer(demo, request) for request in DEMO_REQUESTS.values()]
    pairs = list(zip(DEMO_REQUESTS.values(), traces, strict=True))
    expected = reference(demo, DEMO_OPTIONS, pairs)
    return dict(zip(DEMO_REQUESTS, zip(traces, expected, strict=True), strict=True))


@pytest.fixture(scope="module")
def tiny(tiny_path: Path) -> Any:
    return load(tiny_path, **TINY_OPTIONS)


@pytest.fixture(scope="module")
def tiny_results(tiny: Any) -> dict[str, tuple[Trace, dict[str, list[float]]]]:
    traces = [answer(tiny, request) for request in TINY_REQUESTS.values()]
    pairs = list(zip(TINY_REQUESTS.values(), traces, strict=True))
    expected = reference(tiny, TINY_OPTIONS, pairs)
    return dict(zip(TINY_REQUESTS, zip(traces, expected, strict=True), strict=True))


def test_the_reference_has_every_signal(tiny_results: Any) -> None:
    for _, expected in tiny_results.values():
        assert set(expected) == {*SIGNALS, *ROWS}


@pytest.mark.model
def test_the_embedded_model_is_compared_on_at_least_200_tokens(demo_results: Any) -> None:
    traces = [trace for trace, _ in demo_results.values()]
    assert sum(map(len, traces)) >= 200
    assert {trace.finish_reason for trace in traces} >= {"length", "eos", "stop"}


@pytest.mark.model
@pytest.mark.parametrize("name", [*ROWS, *SIGNALS])
@pytest.mark.parametrize("case", DEMO_REQUESTS)
def test_the_embedded_model_agrees(demo_results: Any, case: str, name: str) -> None:
    trace, expected = demo_results[case]
    assert_agrees(trace, expected, name, 1e-4)


@pytest.mark.parametrize("name", [*ROWS, *SIGNALS])
@pytest.mark.parametrize("case", TINY_REQUESTS)
def test_a_float32_model_agrees(tiny_results: Any, case: str, name: str) -> None:
    trace, expected = tiny_results[case]
    assert_agrees(trace, expected, name, 1e-5)


def test_a_float32_model_ends_in_both_ways(tiny_results: Any) -> None:
    reasons = {trace.finish_reason for trace, _ in tiny_results.values()}
    assert reasons == {"length", "eos"}


def test_spilled_energy_telescopes_over_an_answer(tiny_results: Any) -> None:
    trace, _ = tiny_results["greedy"]
    expected = trace.nll.sum() + trace.log_partition[-1] - trace.log_partition[0]
    assert trace.spilled_energy.sum() == pytest.approx(expected)


def call_chat(llm: Any) -> None:
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    llm.create_chat_completion(turns, max_tokens=12, temperature=0)


def call_chat_streaming(llm: Any) -> None:
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    for _ in llm.create_chat_completion(turns, max_tokens=12, temperature=0, stream=True):
        pass


def call_completion(llm: Any) -> None:
    llm("The three primary colours are", max_tokens=12, temperature=0)


def call_completion_streaming(llm: Any) -> None:
    for _ in llm("The three primary colours are", max_tokens=12, temperature=0, stream=True):
        pass


CHAT = Request.chat("What is the capital of France?", max_tokens=12)
RAW = Request.raw("The three primary colours are", max_tokens=12)
CALLS = {
    "chat": (call_chat, CHAT),
    "chat streaming": (call_chat_streaming, CHAT),
    "completion": (call_completion, RAW),
    "completion streaming": (call_completion_streaming, RAW),
}


@pytest.fixture(scope="module", params=CALLS)
def captured(request: pytest.FixtureRequest, demo: Any) -> tuple[Trace, Trace]:
    """A captured call and the same prompt through `generate`, both on a fresh state."""
    call, asked = CALLS[request.param]
    demo.engine.reset()
    with capture(demo.engine) as traces:
        call(demo.engine)
    assert len(traces) == 1
    return traces[0], answer(demo, asked)


@pytest.mark.model
@pytest.mark.parametrize("name", ["ids", *ROWS, *SIGNALS])
def test_a_captured_call_has_the_numbers_of_generate(
    captured: tuple[Trace, Trace], name: str
) -> None:
    mine, generated = captured
    np.testing.assert_array_equal(getattr(mine, name), getattr(generated, name))


@pytest.mark.model
def test_a_captured_call_has_the_text_of_generate(captured: tuple[Trace, Trace]) -> None:
    mine, generated = captured
    assert (mine.text, mine.finish_reason, mine.prompt_tokens) == (
        generated.text,
        generated.finish_reason,
        generated.prompt_tokens,
    )


REPLAYED = ("chat sampled", "chat greedy", "raw penalised")


@pytest.fixture(scope="module", params=REPLAYED)
def replayed(request: pytest.FixtureRequest, demo: Any, demo_results: Any) -> tuple[Trace, Trace]:
    live, _ = demo_results[request.param]
    demo.engine.reset()
    again = finished(demo.replay(DEMO_REQUESTS[request.param], live.ids.tolist()))
    return live, again


@pytest.mark.model
@pytest.mark.parametrize("name", ["ids", *ROWS, *SIGNALS])
def test_replay_has_the_numbers_of_live_generation(
    replayed: tuple[Trace, Trace], name: str
) -> None:
    live, again = replayed
    np.testing.assert_allclose(getattr(again, name), getattr(live, name), rtol=0, atol=1e-6)
