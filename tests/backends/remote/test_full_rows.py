"""Servers that send the numbers of whole rows: what vLLM with our extension sent, and worse.

The bodies were recorded from a really started server with a tiny random model; what is expected
beside them was computed by transformers from the same weights. `make test-vllm` asks such a server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_contract import finished
from odd_server import Odd, odd_server

from energy_guard import Guard, Policy
from energy_guard.backends.remote import RemoteServer
from energy_guard.errors import EngineError, InputError, PromptError
from energy_guard.request import Request, Sampling
from energy_guard.trace import SIGNALS, Trace

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vllm_with_numbers.json").read_text(encoding="utf-8")
)
CHAT = Request.chat("Hi", max_tokens=3)
RAW = Request.raw("The capital", max_tokens=3)


@pytest.fixture
def server() -> Iterator[Odd]:
    with odd_server() as odd:
        odd.models, odd.tells = RECORDED["models"], RECORDED["told"]
        yield odd


def backend_of(server: Odd, *answers: Any) -> RemoteServer:
    server.says(RECORDED["hands"], *answers)
    return RemoteServer(server.url)


def ask(backend: RemoteServer, request: Request, *, steps: bool = False) -> Trace:
    with backend.session() as session:
        return finished(session.generate([request], steps=steps))


def assert_expected(trace: Trace, expected: dict[str, Any]) -> None:
    assert trace.ids.tolist() == expected["ids"]
    for name in ("token_logit", "log_partition", "row_mean", "entropy", "margin"):
        np.testing.assert_allclose(
            getattr(trace, name), expected[name], rtol=0, atol=1e-4, err_msg=name
        )


def test_a_chat_has_all_signals(server: Odd) -> None:
    backend = backend_of(server, RECORDED["whole"])
    trace = ask(backend, CHAT)
    assert_expected(trace, RECORDED["expected_chat"])
    assert np.isfinite([trace.signal(name) for name in SIGNALS]).all()
    assert backend.exact_signals == frozenset(SIGNALS) and backend.replays
    body = server.bodies[-1]
    assert (body["top_logprobs"], body["max_tokens"]) == (25, 4), "the row after the last token"


def test_so_has_a_stream_of_a_completion(server: Odd) -> None:
    backend = backend_of(server, RECORDED["stream"])
    trace = ask(backend, RAW, steps=True)
    assert_expected(trace, RECORDED["expected_raw"])
    assert (trace.finish_reason, trace.prompt_tokens) == ("length", len("The capital"))


def test_an_answer_that_exists_is_read(server: Odd) -> None:
    backend = backend_of(server, *RECORDED["replay"])
    trace = finished(backend.replay(RAW, "thé"))
    assert_expected(trace, RECORDED["expected_replay"])
    assert trace.text == "thé"
    server.says(*RECORDED["replay"])
    policy = Policy(detector="spilled_energy:max", abstain=0.0)
    assert Guard(backend, policy).score(RAW, "thé").verdict == "abstain"
    server.says(RECORDED["replay"][1])
    with (
        pytest.raises(PromptError, match="reads another text, from character 1 on"),
        backend.session() as session,
    ):
        session.tokens_of("tea")


def test_a_profile_belongs_to_such_rows(server: Odd) -> None:
    full = backend_of(server).info
    server.tells = None
    assert RemoteServer(server.url).info.fingerprint != full.fingerprint
    assert full.engine["full_rows"] and full.engine["vllm"] == RECORDED["told"]["engine"]["vllm"]
    server.tells = deepcopy(RECORDED["told"])
    server.tells["pieces"][65] = "62"
    assert backend_of(server).info.fingerprint != full.fingerprint, "another vocabulary"


def columns(body: dict[str, Any], t: int = 1) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body["choices"][0]["logprobs"]["content"][t]["top_logprobs"]
    return found


def set_number(at: int, value: float | None) -> Callable[[dict[str, Any]], None]:
    return lambda body: columns(body)[at].update(logprob=value)


def shift(body: dict[str, Any]) -> None:
    """The numbers are those of the row before."""
    for t in (3, 2, 1):
        for mine, theirs in zip(columns(body, t)[-4:], columns(body, t - 1)[-4:], strict=True):
            mine["logprob"] = theirs["logprob"]


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "the row before": (shift, "do not fit"),
    "another margin": (set_number(-1, 3.0), "do not fit"),
    "another entropy": (set_number(-2, 0.0), "do not fit"),
    "a mean above the partition": (set_number(-3, 1e3), "no model can have given"),
    "a partition that is none": (set_number(-4, None), "numbers that are none"),
    "a mean of a row with tokens ruled out": (set_number(-3, -9999.0), "ruled out"),
    "an unlikely token as a likely one": (set_number(1, -0.01), "do not fit"),
    "none of ours": (lambda body: columns(body).__delitem__(slice(-4, None)), "did not come"),
    "tokens by their text": (lambda body: columns(body)[2].update(token=" a"), "a token's id"),
    "another token's": (lambda body: columns(body).pop(0), "not those of its token"),
    "several answers": (lambda body: body["choices"].append(body["choices"][0]), "several answers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_add_up_is_refused(server: Odd, case: str) -> None:
    change, says = WRONG[case]
    body = deepcopy(RECORDED["whole"])
    change(body)
    backend = backend_of(server, body)
    with pytest.raises((EngineError, InputError), match=says):
        ask(backend, CHAT)


def test_a_server_whose_workers_lack_the_extension_is_refused_at_the_start(server: Odd) -> None:
    server.says(RECORDED["plain"])
    with pytest.raises(EngineError, match="did not come") as caught:
        RemoteServer(server.url)
    assert "energy_guard.backends.vllm.serve" in (caught.value.hint or "")


def test_a_replay_of_other_tokens_is_refused(server: Odd) -> None:
    answer = deepcopy(RECORDED["replay"][2])
    places = answer["choices"][0]["prompt_logprobs"]
    places.insert(1, places.pop())
    backend = backend_of(server, RECORDED["replay"][0], answer)
    with pytest.raises(EngineError, match="other tokens"):
        finished(backend.replay(RAW, RECORDED["expected_replay"]["ids"]))


@pytest.mark.parametrize("answers", [0, 1], ids=["the prompt", "the answer"])
def test_a_replay_is_interrupted_while_tokens_are_asked_for(server: Odd, answers: int) -> None:
    """Each time the server is silent from there on."""
    server.says(RECORDED["hands"], *RECORDED["replay"][:answers], [RECORDED["replay"][0]])
    backend = RemoteServer(server.url)
    server.pause_s = 30.0
    before = time.monotonic()
    late = Request.raw("The capital", max_tokens=3, deadline=before + 0.5)
    trace = finished(backend.replay(late, "thé"))
    assert time.monotonic() - before < 5
    assert (len(trace), trace.finish_reason) == (0, "deadline")
    assert len(server.bodies) == 2 + answers, "nothing more is asked for"


def test_what_cannot_be_relied_on_is_refused_here_too(server: Odd) -> None:
    backend = backend_of(server)
    for request in (
        Request.raw("?", sampling=Sampling(logit_bias={1: 2.0})),
        Request.raw("?", inverse_temperature=0.5),
        Request.raw("?", alternatives=21),
    ):
        with pytest.raises(InputError, match="cannot be asked for"):
            ask(backend, request)
    for settings in ({"inverse_temperature": 2.0}, {"alternatives": 50}):
        with pytest.raises(InputError, match="cannot be asked for"):
            finished(backend.replay(Request(ids=(72, 105), **settings), [256]))
    assert len(server.bodies) == 1, "the handshake"
