"""Streams: held until the verdict, or live with a retraction at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from served import LAX, Served, eventually, served

from energy_guard import Guard, Policy, Request
from energy_guard.backends import Scripted
from energy_guard.backends.scripted import Script
from energy_guard.request import Event

STRICT = Policy(detector="nll:max", warn=0.5, abstain=1.0)
SURE = [("The capital is ", 0.99), ("Par", 0.97), ("is", 0.99), (".", 0.99)]
WITHHELD = [("The capital is ", 0.99), ("Tim", 0.2), ("buktu", 0.99), (".", 0.99)]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = [('{"name": "weather", "arguments": {"city": "', 0.99), ("Paris", 0.97), ('"}}', 0.99)]


def chunks(text: str) -> list[dict[str, Any]]:
    """The events of a stream, whose end is checked."""
    events = [part for part in text.split("\n\n") if part and not part.startswith(":")]
    assert events.pop() == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def streamed(
    *scripts: list[tuple[str, float]], policy: Policy = STRICT, path: str = "", **fields: Any
) -> list[dict[str, Any]]:
    with served(Guard(Scripted.saying(*scripts), policy)) as server:
        if path:
            response = server.http.post(path, json={"stream": True} | fields)
        else:
            response = server.chat(stream=True, **fields)
        assert response.headers["content-type"].startswith("text/event-stream")
        return chunks(response.text)


def content(found: list[dict[str, Any]]) -> str:
    deltas = [choice["delta"] for chunk in found for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def mode(name: str) -> dict[str, Any]:
    return {"energy_guard": {"stream": name}}


@pytest.mark.parametrize("stream", ["hold", "live"])
def test_a_stream_is_the_answer_and_ends_with_the_verdict(stream: str) -> None:
    found = streamed(SURE, **mode(stream))
    assert content(found) == "The capital is Paris."
    assert len(found) == 6
    assert {chunk["id"] for chunk in found} == {found[0]["id"]}
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    last = found[-1]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["energy_guard"]["verdict"] == "accept"
    assert last["choices"][0]["logprobs"]["energy_guard"] == last["energy_guard"]
    assert all("energy_guard" not in chunk for chunk in found[:-1])


@pytest.mark.parametrize("fields", [{}, {"logprobs": True}])
def test_a_held_stream_has_no_word_that_is_withheld(fields: dict[str, Any]) -> None:
    found = streamed(WITHHELD, **fields)
    assert "buktu" not in json.dumps(found)
    assert content(found) == ""
    assert found[1]["choices"][0]["delta"] == {"refusal": STRICT.abstention_text}
    assert found[-1]["choices"][0]["finish_reason"] == "content_filter"
    assert found[-1]["energy_guard"]["verdict"] == "abstain"


def test_a_live_stream_takes_back_what_is_withheld() -> None:
    found = streamed(WITHHELD, **mode("live"))
    assert content(found) == "The capital is Timbuktu."
    retracted = [chunk for chunk in found if chunk.get("energy_guard", {}).get("event")]
    assert [chunk["energy_guard"] for chunk in retracted] == [{"event": "retracted", "attempt": 0}]
    after = found[found.index(retracted[0]) + 1 :]
    assert "buktu" not in json.dumps(after)
    assert after[0]["choices"][0]["delta"] == {"refusal": STRICT.abstention_text}
    assert after[-1]["choices"][0]["finish_reason"] == "content_filter"


def test_a_stream_a_sentence_behind_sends_no_sentence_that_is_withheld() -> None:
    said = [*SURE, (" It", 0.99), (" is not ", 0.99), ("Tim", 0.01), ("buktu", 0.99), (".", 0.99)]
    found = streamed(said, **mode("sentence"))
    assert content(found) == "The capital is Paris."
    assert "buktu" not in json.dumps(found)
    assert found[-1]["choices"][0]["finish_reason"] == "content_filter"


def test_a_live_stream_names_the_attempt_that_is_tried_again() -> None:
    again = STRICT.model_copy(update={"retries": 1})
    found = streamed(WITHHELD, SURE, policy=again, **mode("live"))
    kinds = [chunk.get("energy_guard", {}).get("event") for chunk in found]
    at = kinds.index("retracted")
    assert content(found[at:]) == "The capital is Paris."
    assert found[-1]["energy_guard"]["attempts"] == 2


@pytest.mark.parametrize("stream", ["hold", "live"])
def test_the_tokens_of_a_stream_make_up_its_text(stream: str) -> None:
    found = streamed(SURE, logprobs=True, **mode(stream))
    listed = [
        entry
        for chunk in found
        for choice in chunk["choices"]
        for entry in (choice["logprobs"] or {}).get("content") or ()
    ]
    assert "".join(entry["token"] for entry in listed) == content(found)


@pytest.mark.parametrize("stream", ["hold", "live"])
def test_a_call_comes_at_once(stream: str) -> None:
    found = streamed(CALL, tools=[TOOL], **mode(stream))
    deltas = [choice["delta"] for chunk in found for choice in chunk["choices"]]
    [[call]] = [delta["tool_calls"] for delta in deltas if "tool_calls" in delta]
    assert (call["index"], call["function"]["name"]) == (0, "weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    assert content(found) == ""
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_the_number_of_tokens_comes_last_if_it_is_asked_for() -> None:
    found = streamed(SURE, stream_options={"include_usage": True, "include_obfuscation": False})
    assert found[-1]["choices"] == []
    assert found[-1]["usage"] == {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}
    assert all(chunk["usage"] is None for chunk in found[:-1])


def test_several_answers_are_told_apart_by_their_index() -> None:
    found = streamed(SURE, WITHHELD, n=2)
    ends = [(c["choices"][0]["index"], c["choices"][0]["finish_reason"]) for c in found]
    assert [end for end in ends if end[1]] == [(0, "stop"), (1, "content_filter")]


@pytest.mark.parametrize("stream", ["hold", "live"])
def test_a_plain_completion_is_streamed(stream: str) -> None:
    found = streamed(SURE, path="/v1/completions", prompt="The capital", **mode(stream))
    assert "".join(chunk["choices"][0]["text"] for chunk in found) == "The capital is Paris."
    assert {chunk["object"] for chunk in found} == {"text_completion"}


@pytest.mark.parametrize("stream", ["hold", "live"])
def test_the_tokens_of_a_streamed_completion_are_those_of_the_whole_one(stream: str) -> None:
    think = [("<think>", 0.9), ("Lyon?", 0.9), ("</think>", 0.9), ("\n\n", 0.9), *SURE]
    asked: dict[str, Any] = {"prompt": "The capital", "logprobs": 0}
    with served(Guard(Scripted.saying(think, think), LAX)) as server:
        whole = server.http.post("/v1/completions", json=asked).json()["choices"][0]["logprobs"]
        body = asked | {"stream": True} | mode(stream)
        found = chunks(server.http.post("/v1/completions", json=body).text)
    parts = [part for chunk in found if (part := chunk["choices"][0]["logprobs"])]
    del whole["energy_guard"]
    assert whole["text_offset"] == [0, 15, 18, 20]
    assert {name: [each for part in parts for each in part[name] or ()] for name in whole} == whole


@pytest.mark.parametrize("fields", [{}, {"logprobs": 0}])
@pytest.mark.parametrize("stream", ["hold", "live"])
def test_the_last_chunk_of_a_completion_has_the_form_of_that_endpoint(
    stream: str, fields: dict[str, Any]
) -> None:
    found = streamed(SURE, path="/v1/completions", prompt="?", **fields, **mode(stream))
    last = found[-1]["choices"][0]["logprobs"]
    assert last.keys() == {
        *("tokens", "token_logprobs", "top_logprobs", "text_offset", "energy_guard")
    }
    assert last["energy_guard"]["verdict"] == "accept"


def test_the_server_says_which_mode_is_usual() -> None:
    with served(Guard(Scripted.saying(WITHHELD, WITHHELD), STRICT), stream="live") as server:
        live, held = server.chat(stream=True), server.chat(stream=True, **mode("hold"))
    assert "buktu" in live.text
    assert "buktu" not in held.text


class Late(Scripted):
    """Thinks for a while before each answer."""

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        time.sleep(0.5)
        yield from super()._play(number, request, script)


def test_a_stream_that_holds_back_gives_signs_of_life() -> None:
    with served(Guard(Late.saying(SURE), LAX), ping_s=0.1) as server:
        text = server.chat(stream=True).text
    assert text.count(": waiting\n\n") >= 2
    assert content(chunks(text)) == "The capital is Paris."


def test_an_engine_that_fails_before_anything_is_sent_is_a_status() -> None:
    with served(Guard(Late.saying(), LAX), ping_s=0.1) as server:
        late = server.chat(stream=True)
    assert late.status_code == 500  # it failed before anything was sent


class Breaking(Late):
    """Fails after its pause."""

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        yield from super()._play(number, request, Script(script.ids, script.rows, fail_at=2))


@pytest.mark.parametrize("stream", ["hold", "live"])
def test_an_error_after_the_beginning_is_an_event_and_the_next_request_is_served(
    stream: str,
) -> None:
    backend = Breaking.saying(SURE, SURE)
    with served(Guard(backend, LAX), ping_s=0.1) as server:
        text = server.chat(stream=True, **mode(stream)).text
        found = chunks(text)
        assert found[-1]["error"]["type"] == "server_error"
        assert server.chat().status_code == 500
        assert server.http.get("/health").status_code == 200


class Mistaken(Late):
    """Has a mistake that nobody foresaw, which tells what the model said."""

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        played = super()._play(number, request, script)
        yield next(played)
        yield next(played)
        raise ValueError("Timbuktu is what the model said")


def test_a_mistake_after_the_beginning_is_an_event_too(capfd: pytest.CaptureFixture[str]) -> None:
    with served(Guard(Mistaken.saying(SURE), LAX), ping_s=0.1) as server:
        text = server.chat(stream=True, **mode("live")).text
        assert server.http.get("/health").status_code == 200
    assert chunks(text)[-1]["error"]["message"].startswith("the server failed")
    assert "Timbuktu" not in text + capfd.readouterr().err


def test_a_stream_that_waits_when_the_server_ends_is_told() -> None:
    def ask(server: Served) -> str:
        return server.chat(stream=True).text

    with (
        served(Guard(Late.saying(SURE, SURE), LAX), ping_s=0.1) as server,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(ask, server)
        assert eventually(lambda: server.service.line._served)
        second = pool.submit(ask, server)
        assert eventually(lambda: len(server.service.line) == 1)
        time.sleep(0.2)
        server.stop()
        assert content(chunks(first.result())) == "The capital is Paris."
        assert chunks(second.result())[-1]["error"]["code"] == "shutting_down"
