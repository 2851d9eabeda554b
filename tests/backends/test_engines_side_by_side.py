"""One model file on both engines: the same tokens, the same pieces, the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from backend_contract import finished
from llama_cpp_sampling import probabilities
from tiny_gguf import SPECIALS, write_tiny_gguf

from energy_guard import load
from energy_guard.errors import InputError
from energy_guard.request import Finished, Message, Request, Sampling
from energy_guard.trace import SIGNALS

N_VOCAB = 257 + len(SPECIALS)
END = N_VOCAB - 1
NO_END = {END: -99.0}


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    path = write_tiny_gguf(tmp_path_factory.mktemp("both") / "tiny.gguf", seed=3)
    single = {"n_threads": 1, "n_threads_batch": 1, "type_k": 0, "type_v": 0}
    llama = load(path, n_ctx=512, **single)
    yield llama, load(path, "transformers", n_ctx=512, n_threads=1)
    llama.engine.close()


def answers(engines: tuple[Any, Any], request: Request) -> list[Any]:
    engines[0].engine.reset()
    return [finished(backend.generate([request])) for backend in engines]


CHATS = [
    Request.chat("hello"),
    Request.chat([Message("system", "Be brief."), Message("user", "the cat\n<|im_end|>?")]),
    Request.chat("What is it?", context=("A <|im_start|> passage.", "日本")),
    Request.raw("the other thing, the\tend"),
    Request.raw("plain <|im_end|> text"),
    Request.raw("日本語 é 🎉 \u0301"),
]


@pytest.mark.parametrize("request_", CHATS, ids=range(len(CHATS)))
def test_prompts_are_the_same_ids(engines: tuple[Any, Any], request_: Request) -> None:
    mine, theirs = (backend._prompts.encode(request_) for backend in engines)
    assert mine == theirs
    assert [b.measure(request_).opens_reasoning for b in engines] == [False, False]


def test_every_token_is_the_same_piece(engines: tuple[Any, Any]) -> None:
    llama, torch = engines
    ids = tuple(range(N_VOCAB))
    pieces = [finished(b.replay(Request.raw("x"), ids[:-1])).pieces for b in engines]
    assert pieces[0] == pieces[1]
    assert b"".join(pieces[1][:256]) == bytes(range(256))
    assert llama.measure(Request.raw("x")) == torch.measure(Request.raw("x"))


PENALTIES = {
    "none": {},
    "repeat": {"repeat_penalty": 1.3},
    "less than one": {"repeat_penalty": 0.7},
    "frequency": {"frequency_penalty": 0.3},
    "presence": {"presence_penalty": 0.9},
    "negative": {"frequency_penalty": -0.2, "presence_penalty": -0.5},
    "all": {"repeat_penalty": 1.1, "frequency_penalty": 0.2, "presence_penalty": 0.4},
    "bias": {"logit_bias": {ord("e"): 2.5, ord(" "): -3.0, 256: 1.0, END: -99.0}},
}


@pytest.mark.parametrize("prompt", ["the cat", "aaaa aaaa aaaa", "Why is the sky blue?"])
@pytest.mark.parametrize("name", PENALTIES)
def test_greedy_answers_are_the_same_ids(engines: tuple[Any, Any], name: str, prompt: str) -> None:
    """Long enough that tokens fall out of the 64 that penalties look at."""
    sampling = Sampling(**{"logit_bias": NO_END} | PENALTIES[name])
    request = Request.raw(prompt, sampling=sampling, max_tokens=110)
    llama, torch = answers(engines, request)
    assert llama.ids.tolist() == torch.ids.tolist()
    assert (len(llama), llama.finish_reason) == (len(torch), torch.finish_reason) == (110, "length")
    assert_same_numbers(llama, torch)


def test_penalties_do_change_these_answers(engines: tuple[Any, Any]) -> None:
    written = set()
    for options in PENALTIES.values():
        sampling = Sampling(**{"logit_bias": NO_END} | options)
        request = Request.raw("the cat", sampling=sampling, max_tokens=110)
        written.add(tuple(finished(engines[1].generate([request])).ids))
    assert len(written) == len(PENALTIES)


def assert_same_numbers(mine: Any, theirs: Any) -> None:
    for name in (*SIGNALS, "log_partition", "row_mean"):
        ours, other = getattr(mine, name), getattr(theirs, name)
        np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-4, err_msg=name)


REQUESTS = {
    "to the end": Request.chat("hello", max_tokens=60, sampling=Sampling(logit_bias={END: 4.0})),
    "to a limit": Request.chat("What is it?", max_tokens=25),
    "to a stop": Request.raw("the cat", max_tokens=60, stop=("a", "e", "th")),
    "scaled": Request.raw("abc", max_tokens=20, inverse_temperature=0.5),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_an_answer_is_the_same_trace(engines: tuple[Any, Any], name: str) -> None:
    llama, torch = answers(engines, REQUESTS[name])
    assert llama.ids.tolist() == torch.ids.tolist()
    for field in ("pieces", "text", "finish_reason", "content_bytes", "prompt_tokens"):
        assert getattr(llama, field) == getattr(torch, field), field
    assert len(llama.log_partition) == len(torch.log_partition)
    assert_same_numbers(llama, torch)


def test_the_requests_do_end_in_every_way(engines: tuple[Any, Any]) -> None:
    ends = [finished(engines[1].generate([request])).finish_reason for request in REQUESTS.values()]
    assert ends[:3] == ["eos", "length", "stop"]


@pytest.mark.parametrize("fast", [False, True])
def test_any_answer_has_the_same_numbers(engines: tuple[Any, Any], fast: bool) -> None:
    """Ids that neither engine would write, and text with split characters."""
    request = Request.chat("hello")
    for answer in ([*range(0, N_VOCAB - 1, 3)], "Völlig 日本 🎉, the end."):
        engines[0].engine.reset()
        llama, torch = (finished(b.replay(request, answer, fast=fast)) for b in engines)
        assert llama.ids.tolist() == torch.ids.tolist()
        assert llama.text == torch.text
        assert_same_numbers(llama, torch)


DRAWN = {
    "temperature": Sampling(0.9, top_k=0, top_p=1.0, min_p=0.0),
    "top k": Sampling(1.0, top_k=6, top_p=1.0, min_p=0.0),
    "top p": Sampling(1.0, top_k=0, top_p=0.5, min_p=0.0),
    "min p": Sampling(1.4, top_k=0, top_p=1.0, min_p=0.2),
    "typical": Sampling(1.0, top_k=0, top_p=1.0, min_p=0.0, typical_p=0.6),
    "together": Sampling(0.8, top_k=20, top_p=0.9, min_p=0.05, typical_p=0.9),
}


@pytest.mark.parametrize("name", DRAWN)
def test_both_draw_from_the_same_distribution(engines: tuple[Any, Any], name: str) -> None:
    """400 seeds on each engine: nothing beyond the same set, and as often as each other."""
    prompt, count = "the cat", 400
    (row,) = [rows_before(engines[1], prompt)]
    p = probabilities(row, [], DRAWN[name])
    for backend in engines:
        requests = [
            Request.raw(prompt, sampling=replace(DRAWN[name], seed=seed), max_tokens=1)
            for seed in range(count)
        ]
        traces = [e.trace for e in backend.generate(requests) if isinstance(e, Finished)]
        drawn = np.bincount([int(t.ids[0]) for t in traces], minlength=N_VOCAB)
        assert not drawn[p == 0].any()
        spread = np.sqrt(count * p * (1 - p))
        assert np.all(np.abs(drawn - count * p) <= 4.5 * spread + 2)


def rows_before(backend: Any, prompt: str) -> np.ndarray:
    import torch

    with torch.no_grad():
        ids = torch.tensor([backend._prompts.encode(Request.raw(prompt))])
        row: np.ndarray = backend.engine(ids).logits[0, -1].double().numpy()
    return row


@pytest.mark.parametrize("token", [-1, N_VOCAB, 10**9])
def test_a_bias_for_a_token_that_there_is_not_is_refused(
    engines: tuple[Any, Any], token: int
) -> None:
    sampling = Sampling(logit_bias={65: 1.0, token: -100.0})
    for backend in engines:
        with pytest.raises(InputError, match=f"logit_bias has token {token}"):
            finished(backend.generate([Request.raw("hi", sampling=sampling)]))


def test_a_token_can_be_banned(engines: tuple[Any, Any]) -> None:
    first = {int(trace.ids[0]) for trace in answers(engines, Request.raw("hi", max_tokens=1))}
    sampling = Sampling(logit_bias=dict.fromkeys(first, -np.inf))

    for trace in answers(engines, Request.raw("hi", max_tokens=1, sampling=sampling)):
        assert int(trace.ids[0]) not in first
