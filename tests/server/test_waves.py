"""With an engine that answers in batches, requests that wait are answered together."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import LAX, Served, eventually, served
from spans import listening

from energy_guard import Guard
from energy_guard.asynchronous import in_thread_of
from energy_guard.backends import Backend
from energy_guard.log import TraceLog, read_log
from energy_guard.request import Request, Sampling
from energy_guard.server.asked import Wanted
from energy_guard.server.service import Service
from energy_guard.server.settings import ServerSettings
from energy_guard.server.waiting import QueuePlace, WaitingLine

QUESTIONS = ["who was that?", "why", "who was there, and for how long?", "x"]
FIELDS: dict[str, Any] = {"max_tokens": 30, "stop": ["^x", "*_", "eI"]}  # 3 to 17 tokens


def guard(backend: Backend) -> Guard:
    return Guard(backend, LAX, locator="whole")


def asked(question: str, **options: Any) -> Request:
    return Request.chat(question, max_tokens=30, stop=("^x", "*_", "eI"), **options)


def content(response: httpx.Response) -> Any:
    return response.json()["choices"][0]["message"]["content"]


def behind_each_other(server: Served, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
    """Ask the first while somebody else has the engine; the others wait in order."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        futures = []
        with server.service.guard.backend.session():
            for number, body in enumerate(bodies):
                question = body.pop("question")
                futures.append(pool.submit(server.chat, question, **FIELDS | body))
                assert eventually(lambda n=number: len(server.service.line) == n)
        return [future.result() for future in futures]


def test_requests_that_wait_are_answered_as_one_batch(
    batching: Backend, batches: list[int]
) -> None:
    with served(guard(batching)) as server:
        bodies = [{"question": question} for question in QUESTIONS]
        responses = behind_each_other(server, bodies)
    assert batches == [1, 3]
    alone = [guard(batching).ask(asked(question)) for question in QUESTIONS]
    assert [content(each) for each in responses] == [each.answer for each in alone]
    for response, one in zip(responses, alone, strict=True):
        assert response.json()["energy_guard"]["score"] == pytest.approx(one.score, abs=1e-3)


def test_nobody_is_overtaken_and_only_what_is_alike_goes_together(
    batching: Backend, batches: list[int]
) -> None:
    bodies: list[dict[str, Any]] = [
        {"question": "why"},
        {"question": "why"},
        {"question": "x", "seed": 3},
        {"question": "why", "temperature": 0.7},
        {"question": "why", "n": 2},
        {"question": "x"},
        {"question": "x", "max_tokens": 29},
    ]
    with served(guard(batching)) as server:
        responses = behind_each_other(server, bodies)
    assert [each.status_code for each in responses] == [200] * 7
    assert batches == [1, 2, 1, 3, 1], "the choices of one request are a batch as well"


@pytest.mark.parametrize("stream", [False, True])
def test_the_choices_of_one_request_are_one_batch(
    batching: Backend, batches: list[int], stream: bool
) -> None:
    with served(guard(batching)) as server:
        told = server.chat("why", n=3, temperature=0.8, seed=4, stream=stream, **FIELDS)
    assert batches == [3]
    alone = [
        guard(batching).ask(asked("why", sampling=Sampling(temperature=0.8, seed=seed))).answer
        for seed in (4, 5, 6)
    ]
    if stream:
        chunks = [json.loads(line[6:]) for line in told.text.splitlines() if line[:7] == "data: {"]
        found = ["", "", ""]
        for chunk in chunks:
            for choice in chunk["choices"]:
                found[choice["index"]] += choice["delta"].get("content") or ""
    else:
        found = [choice["message"]["content"] for choice in told.json()["choices"]]
    assert found == alone


def test_a_refused_request_is_refused_alone(batching: Backend) -> None:
    bodies = [{"question": "why"}, {"question": "x"}, {"question": "long " * 500}]
    with served(guard(batching)) as server:
        first, second, third = behind_each_other(server, bodies)
    assert [first.status_code, second.status_code, third.status_code] == [200, 200, 400]
    assert content(second) == guard(batching).ask(asked("x")).answer


def test_each_request_of_a_batch_is_in_its_own_callers_trace(batching: Backend) -> None:
    spans = listening()
    traces = [f"{number:032x}" for number in (7, 8, 9)]

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
            body = {"messages": [{"role": "user", "content": "why"}]} | FIELDS
            calls = [
                http.post(
                    "/v1/chat/completions",
                    json=body,
                    headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
                )
                for trace in traces
            ]
            await asyncio.gather(*calls)

    with served(guard(batching)) as server:
        asyncio.run(ask())
    found = [span.context.trace_id for span in spans.get_finished_spans() if span.context]
    assert sorted(found) == [7, 8, 9]


def wanted(question: str, **options: Any) -> Wanted:
    return Wanted(requests=(asked(question, **options),), chat=True)


async def nobody_leaves() -> Any:
    await asyncio.Event().wait()


async def test_one_that_goes_meanwhile_is_stopped_and_the_others_get_their_answers(
    batching: Any, batches: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forward, calls, gone = batching.engine.forward, [], threading.Event()
    loop = asyncio.get_running_loop()

    def leaving(*args: Any, **options: Any) -> Any:
        if batches == [1, 2]:
            calls.append(None)
        if len(calls) == 3:
            loop.call_soon_threadsafe(going.cancel)
            assert gone.wait(60)
        return forward(*args, **options)

    monkeypatch.setattr(batching.engine, "forward", leaving)
    log = TraceLog(tmp_path / "log.jsonl")
    service = Service(Guard(batching, LAX, locator="whole", log=log), ServerSettings())
    _, going, staying = map(service.answers, map(wanted, ("x", "why", "who was there, and when?")))
    going.when_done(lambda _: gone.set())
    [choice] = await staying.whole(nobody_leaves)
    assert choice.result.shown
    ended = [entry.trace for entry in read_log(log.path)]
    assert [trace.finish_reason for trace in ended] == ["stop", "cancelled", "length"]
    assert len(ended[1]) < 5 < len(ended[2])


def test_a_batch_that_is_out_of_time_does_not_wait_for_the_engine(batching: Backend) -> None:
    free = threading.Event()
    with served(guard(batching), timeout_s=0.3) as server:
        in_use = in_thread_of(batching, lambda: assert_comes(free))
        try:
            response = server.chat("why", n=2, **FIELDS)
            assert not in_use.done()
        finally:
            free.set()
    assert (response.status_code, response.headers["retry-after"].isdecimal()) == (503, True)


def assert_comes(event: threading.Event) -> None:
    assert event.wait(60)


# The line


def turns(places: list[QueuePlace]) -> list[bool]:
    return [place.turn.done() for place in places]


async def test_the_line_lets_those_in_that_are_alike_up_to_the_size_of_a_batch() -> None:
    line = WaitingLine(9, at_once=2)
    places = [line.join("a") for _ in range(5)]
    assert turns(places) == [True, False, False, False, False]
    places[0].leave()
    assert turns(places) == [True, True, True, False, False]
    assert places[1].wave is places[2].wave is not None
    places[1].leave()
    assert not places[3].turn.done()
    places[2].leave()
    assert turns(places) == [True] * 5


async def test_the_answers_of_a_request_count() -> None:
    line = WaitingLine(9, at_once=4)
    places = [line.join("a", answers) for answers in (1, 2, 2, 9, 1)]
    for number, together in ((0, 1), (1, 3), (3, 4), (4, 5)):
        assert turns(places) == [True] * together + [False] * (5 - together)
        assert (places[number].wave is None) == (number in (0, 4)), "one answer needs no wave"
        for place in places[number:together]:
            place.leave()


async def test_whoever_cannot_go_with_others_goes_alone() -> None:
    line = WaitingLine(9, at_once=4)
    places = [line.join(alike) for alike in ("a", None, None, "a", "b", "b")]
    for number, together in ((0, 1), (1, 2), (2, 3), (3, 4)):
        assert turns(places) == [True] * together + [False] * (6 - together)
        assert places[number].wave is None
        places[number].leave()
    assert turns(places) == [True] * 6
    assert places[4].wave is places[5].wave is not None


async def test_one_that_has_gone_before_its_turn_is_in_no_wave() -> None:
    line = WaitingLine(9, at_once=4)
    places = [line.join("a") for _ in range(3)]
    places[1].turn.cancel()
    places[0].leave()
    assert places[2].turn.result() is None
    assert places[2].wave is None
