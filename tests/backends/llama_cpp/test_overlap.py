"""Two calls on one Llama at once: it cannot serve them, and no mixed number comes out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_contract import finished, in_thread
from llama_cpp import Llama

from energy_guard import Trace, capture
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.locks import lock_of
from energy_guard.errors import EngineError
from energy_guard.request import Request
from energy_guard.trace import SIGNALS

REQUEST = Request.raw("the cat", max_tokens=6)


@pytest.fixture
def llm(tiny_path: Path) -> Iterator[Llama]:
    """After the test it must be as it was."""
    single = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1, "type_k": 0, "type_v": 0}
    loaded = Llama(str(tiny_path), verbose=False, **single)
    before = set(vars(loaded))
    yield loaded
    assert set(vars(loaded)) == before
    assert not lock_of(loaded).locked
    loaded.close()


def stream(llm: Llama, prompt: str = "the cat") -> Iterator[Any]:
    return llm(prompt, max_tokens=6, temperature=0, stream=True)


def assert_same(mine: Trace, other: Trace) -> None:
    assert mine.ids.tolist() == other.ids.tolist()
    for name in SIGNALS:
        np.testing.assert_allclose(getattr(mine, name), getattr(other, name), rtol=0, atol=1e-4)


@pytest.mark.parametrize("other", ["a dog runs", "the cat"])
def test_a_stream_that_another_call_cuts_in_on(llm: Llama, other: str) -> None:
    """Also one with the same prompt, whose greedy answer then is the very context again."""
    requests = [Request.raw(prompt, max_tokens=6) for prompt in ("the cat", other)]
    plain = [finished(LlamaCpp(llm).generate([request])) for request in requests]
    llm.reset()
    with capture(llm) as traces:
        first = stream(llm)
        next(first)
        next(first)
        llm(other, max_tokens=6, temperature=0, logit_bias={ord("z"): 30})
        llm(other, max_tokens=6, temperature=0)
        with pytest.raises(EngineError, match="another call"):
            list(first)
        llm(other, max_tokens=6, temperature=0)
    cut = traces[2]
    assert cut.finish_reason == "closed"
    assert cut.ids.tolist() == plain[0].ids[: len(cut)].tolist()
    np.testing.assert_allclose(cut.nll, plain[0].nll[: len(cut)], rtol=0, atol=1e-4)
    if other != "the cat":
        assert np.isnan(cut.spilled_energy[-1]), "the row after its last token is not to be had"
    np.testing.assert_allclose(
        cut.spilled_energy[:-1], plain[0].spilled_energy[: len(cut) - 1], rtol=0, atol=1e-4
    )
    for trace in (traces[1], traces[3]):
        assert_same(trace, plain[1])


def test_a_stream_that_is_closed_after_another_call(llm: Llama) -> None:
    """The row after its last token would be that of the other call's context."""
    with capture(llm) as traces:
        first = stream(llm)
        next(first)
        llm("a dog runs", max_tokens=6, temperature=0)
        first.close()
        again = llm("a dog runs", max_tokens=6, temperature=0)["choices"][0]["text"]
    assert [trace.finish_reason for trace in traces] == ["length", "closed", "length"]
    assert np.isnan(traces[1].spilled_energy[-1])
    assert traces[0].text == traces[2].text == again


@pytest.mark.parametrize("replayed", [False, True])
def test_another_threads_call_beside_a_guarded_answer(llm: Llama, replayed: bool) -> None:
    backend = LlamaCpp(llm)
    alone = finished(backend.generate([REQUEST]))
    events = (
        backend.replay(REQUEST, alone.ids.tolist()) if replayed else backend.generate([REQUEST])
    )
    next(events)
    assert in_thread(lambda: llm("a dog runs", max_tokens=6, temperature=0)) is None
    with pytest.raises(EngineError, match="another call"):
        list(events)
    assert_same(finished(backend.generate([REQUEST])), alone)


def test_captures_that_overlap_each_have_all_calls_made_while_they_last(llm: Llama) -> None:
    """As those of two tasks on one event loop: the first to begin is the first to end."""
    first, second = capture(llm), capture(llm)
    early = first.__enter__()
    llm("the cat", max_tokens=2, temperature=0)
    late = second.__enter__()
    llm("a dog", max_tokens=3, temperature=0)
    first.__exit__(None, None, None)
    llm("the cat", max_tokens=4, temperature=0)
    second.__exit__(None, None, None)
    llm("the cat", max_tokens=5, temperature=0)

    assert [len(trace) for trace in early] == [2, 3]
    assert [len(trace) for trace in late] == [3, 4]
