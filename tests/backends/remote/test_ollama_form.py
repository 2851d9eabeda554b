"""Answers in the form of Ollama's `/v1/chat/completions`, as its source builds them: played here.

The fields are those of `ToChatCompletion` and `ToChunk` (its `openai/openai.go`) with the tokens of
`toAPILogprobs` (`server/logprob.go`): each chunk says the role again, the bytes are those of the
token's text, so that a part of a character is U+FFFD, and the end token is counted and not listed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from backend_contract import finished
from odd_server import odd_server

from energy_guard import Guard, Policy
from energy_guard.request import Request

HEAD = {"id": "chatcmpl-712", "created": 1763000000, "model": "qwen3:0.6b"} | {
    "system_fingerprint": "fp_ollama"
}
USAGE = {"prompt_tokens": 21, "completion_tokens": 3, "total_tokens": 24}


def token(text: str, logprob: float, *others: tuple[str, float]) -> dict[str, Any]:
    """One of `logprobs.content`; the likeliest tokens have no lists of their own."""
    likely = [(text, logprob), *others]
    listed = [{"token": t, "logprob": value, "bytes": [*t.encode()]} for t, value in likely]
    return listed[0] | {"top_logprobs": listed}


CAFE = [
    token("caf", -0.105, ("tea", -2.5), ("The", -4.6)),
    token("\N{REPLACEMENT CHARACTER}", -0.2),
]
CAFE[1]["top_logprobs"] += [{"token": "e", "logprob": -2.0, "bytes": [101]}]


def answer(content: str, tokens: list[dict[str, Any]]) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    choice["logprobs"] = {"content": tokens}
    return HEAD | {"object": "chat.completion", "choices": [choice], "usage": USAGE}


def chunk(content: str, tokens: list[dict[str, Any]], reason: str | None = None) -> dict[str, Any]:
    delta = {"role": "assistant", "content": content}
    choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": reason}
    if tokens:
        choice["logprobs"] = {"content": tokens}
    return HEAD | {"object": "chat.completion.chunk", "choices": [choice]}


def test_an_answer_of_ollama_has_its_numbers_whole_and_streamed() -> None:
    two = [token("Par", -0.105, ("Ly", -2.5)), token("is", -0.02, ("ma", -4.2))]
    counted = HEAD | {"object": "chat.completion.chunk", "choices": [], "usage": USAGE}
    stream = [chunk("Par", two[:1]), chunk("is", two[1:]), chunk("", [], "stop"), counted, "[DONE]"]
    with odd_server() as server:
        backend = server.backend(top_logprobs=2)
        server.says(answer("Paris", two), stream)
        with backend.session() as session:
            whole = finished(session.generate([Request.chat("?")], steps=False))
        live = finished(backend.generate([Request.chat("?")]))
        assert server.bodies[0]["top_logprobs"] == 2
        server.says(answer("Paris", two))
        asked = Guard(backend, Policy(detector="nll:max", warn=0.5, abstain=1.0)).ask("?")
    for trace in (whole, live):
        assert (trace.text, trace.finish_reason, trace.prompt_tokens) == ("Paris", "eos", 21)
        np.testing.assert_allclose(trace.nll, [0.105, 0.02])
        np.testing.assert_allclose(trace.margin, [2.395, 4.18])
    assert (asked.verdict, asked.text) == ("accept", "Paris")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_part_of_a_character_comes_as_u_fffd_and_is_the_one_that_is_missing(
    streamed: bool,
) -> None:
    with odd_server() as server:
        server.says([chunk("caf", CAFE[:1]), chunk("é", CAFE[1:]), chunk("", [], "stop"), "[DONE]"])
        if not streamed:
            server.says(answer("café", CAFE))
        with server.backend().session() as session:
            trace = finished(session.generate([Request.chat("?")], steps=streamed))
    assert trace.pieces == (b"caf", "é".encode())
    np.testing.assert_allclose(trace.nll, [0.105, 0.2])
