"""With an engine that answers in batches, requests that wait are answered together."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from served import LAX, Served, eventually, served
from spans import listening

from energy_guard import Guard, Policy
from energy_guard.backends import Backend, Scripted
from energy_guard.errors import EngineError, PromptTooLongError
from energy_guard.request import Request
from energy_guard.result import Result
from energy_guard.server.waiting import QueuePlace, WaitingLine
from energy_guard.server.waves import Wave

QUESTIONS = ["who was that?", "why", "who was there, and for how long?", "x"]
FIELDS: dict[str, Any] = {"max_tokens": 30, "stop": ["^x", "*_", "eI"]}  # 3 to 17 tokens
SURE = [("so", 0.9)]


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
    assert batches == [1, 2, 1, 1, 1, 1, 1]


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


# The wave itself


async def test_all_are_asked_when_the_last_has_come() -> None:
    wave, whose = Wave(2), Guard(Scripted.saying(SURE, SURE), LAX)
    first = asyncio.create_task(wave.ask(whose, asked("a?")))
    await asyncio.sleep(0.01)
    assert not first.done()
    second = await wave.ask(whose, asked("b?"))
    assert [(await first).answer, second.answer] == ["so", "so"]


async def test_nobody_waits_for_one_that_has_gone() -> None:
    wave, whose = Wave(2), Guard(Scripted.saying(SURE), LAX)
    first = asyncio.create_task(wave.ask(whose, asked("a?")))
    await asyncio.sleep(0)
    wave.leave()
    assert (await first).answer == "so"


async def test_a_wave_that_all_have_left_asks_nothing() -> None:
    wave = Wave(2)
    wave.leave()
    wave.leave()


async def test_one_that_goes_meanwhile_is_stopped_and_the_others_get_their_answers(
    batching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = batching.engine.forward, []

    def slow(*args: Any, **options: Any) -> Any:
        calls.append(None)
        time.sleep(0.02)
        return forward(*args, **options)

    monkeypatch.setattr(batching.engine, "forward", slow)
    wave = Wave(2)
    going = asyncio.create_task(wave.ask(guard(batching), asked("why")))
    staying = asyncio.create_task(wave.ask(guard(batching), asked("who was there, and when?")))
    while len(calls) < 3:
        await asyncio.sleep(0.005)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert not staying.done(), "it went at once"
    assert (await staying).shown
    gone = wave._asked[0].outcome
    assert isinstance(gone, Result)
    assert gone.trace.finish_reason == "cancelled"
    assert len(gone.trace) < 10


async def test_each_has_its_own_deadline(batching: Backend) -> None:
    wave = Wave(2)
    late, well = await asyncio.gather(
        wave.ask(guard(batching), asked("why", deadline=time.monotonic())),
        wave.ask(guard(batching), asked("x")),
    )
    assert (late.trace.finish_reason, well.trace.finish_reason) == ("deadline", "stop")


async def test_each_has_its_own_error(batching: Backend) -> None:
    wave = Wave(2)
    failed, well = await asyncio.gather(
        wave.ask(guard(batching), asked("long " * 500)),
        wave.ask(guard(batching), asked("x")),
        return_exceptions=True,
    )
    assert isinstance(failed, PromptTooLongError)
    assert isinstance(well, Result)


async def test_nobody_waits_for_one_that_cannot_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    wave, whose, other = Wave(2), Guard(Scripted.saying(SURE), LAX), Guard(Scripted.saying(), LAX)

    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError

    monkeypatch.setattr(other, "question", broken)
    first = asyncio.create_task(wave.ask(whose, asked("a?")))
    await asyncio.sleep(0)
    with pytest.raises(ValueError):
        await wave.ask(other, asked("b?"))
    assert (await first).answer == "so"


async def test_an_engine_that_fails_fails_all() -> None:
    wave, whose = Wave(2), Guard(Scripted.saying(), LAX)
    found = await asyncio.gather(
        wave.ask(whose, asked("a?")), wave.ask(whose, asked("b?")), return_exceptions=True
    )
    assert [type(each) for each in found] == [EngineError, EngineError]


async def test_who_is_tried_again_is_asked_again() -> None:
    policy = Policy(detector="nll:max", warn=1.0, abstain=1.0, retries=1)
    whose = Guard(Scripted.saying([("no", 0.1)], SURE, SURE), policy, locator="whole")
    wave = Wave(2)
    first, second = await asyncio.gather(wave.ask(whose, asked("a?")), wave.ask(whose, asked("b?")))
    assert (len(first.attempts), len(second.attempts)) == (2, 1)


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
