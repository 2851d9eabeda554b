"""A guard in an event loop: nobody is blocked, calls wait their turn, a cancelled one stops."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Generator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

import pytest

from energy_guard import Guard, Policy, Request
from energy_guard.asynchronous import run
from energy_guard.backends import Script, Scripted
from energy_guard.backends.locks import lock_of
from energy_guard.errors import EngineBusyError, EngineError, PromptError
from energy_guard.events import Done, GuardEvent, Text
from energy_guard.request import CancelToken, Event, Token

SURE = [("Par", 0.97), ("is", 0.99)]
WILD = [("Lille", 0.01)]
LONG = [("so ", 0.9)] * 1000
QUESTION = "What is the capital of France?"


class Slow(Scripted):
    """Takes a while for each token, and counts them; `began` tells of the first one."""

    pause_s = 0.005

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        for event in super()._play(number, request, script):
            if isinstance(event, Token):
                self.tokens.append(request.question)
                self.began.set()
                time.sleep(self.pause_s)
            yield event

    @property
    def tokens(self) -> list[str]:
        """For each token the question that it answers."""
        found: list[str] = vars(self).setdefault("written", [])
        return found

    @property
    def began(self) -> threading.Event:
        found: threading.Event = vars(self).setdefault("has_begun", threading.Event())
        return found


class Gated(Scripted):
    """Waits before each answer until the gate is open."""

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        assert self.gate.wait(10)
        self.asked.append(request.question)
        yield from super()._play(number, request, script)

    @property
    def gate(self) -> threading.Event:
        found: threading.Event = vars(self).setdefault("the_gate", threading.Event())
        return found

    @property
    def asked(self) -> list[str]:
        found: list[str] = vars(self).setdefault("asked_so_far", [])
        return found


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def first_token(backend: Slow) -> None:
    assert await asyncio.to_thread(backend.began.wait, 10)


async def test_it_answers_as_ask_and_stream_do() -> None:
    policy = Policy(detector="nll:max", warn=1.0, abstain=2.0, retries=1)

    def guard() -> Guard:
        return Guard(Scripted.saying(WILD, SURE), policy)

    asked = await guard().aask(QUESTION, max_tokens=9)
    assert asked.to_dict() == guard().ask(QUESTION, max_tokens=9).to_dict()
    events = [event async for event in guard().astream(QUESTION, max_tokens=9)]
    expected = list(guard().stream(QUESTION, max_tokens=9))
    assert events[:-1] == expected[:-1]
    assert isinstance(events[-1], Done)
    assert events[-1].result.to_dict() == asked.to_dict()


async def test_the_loop_goes_on_while_the_engine_works() -> None:
    backend = Gated.saying(SURE)
    task = asyncio.create_task(Guard(backend).aask(QUESTION))
    await asyncio.sleep(0.01)
    assert not task.done()
    backend.gate.set()
    assert (await task).answer == "Paris"


async def test_events_come_while_the_model_writes() -> None:
    backend = Slow.saying(LONG)
    async with aclosing(Guard(backend).astream(QUESTION, max_tokens=1000)) as events:
        async for event in events:
            if isinstance(event, Text):
                break
    assert len(backend.tokens) < 50, "of a thousand"


async def test_a_cancelled_task_stops_the_engine_within_a_token_and_leaves_it_free() -> None:
    backend = Slow.saying(LONG, SURE)
    guard = Guard(backend)
    task = asyncio.create_task(guard.aask(QUESTION, max_tokens=1000))
    await first_token(backend)
    before = len(backend.tokens)
    await cancelled(task)
    assert len(backend.tokens) <= before + 1
    assert not lock_of(backend).locked
    assert guard.ask(QUESTION).answer == "Paris"


async def test_a_stream_that_is_left_stops_the_engine() -> None:
    backend = Slow.saying(LONG, SURE)
    guard = Guard(backend)
    events = guard.astream(QUESTION, max_tokens=1000)
    async for event in events:
        if isinstance(event, Text):
            break
    before = len(backend.tokens)
    await events.aclose()
    assert len(backend.tokens) <= before + 1
    assert not lock_of(backend).locked


async def test_a_task_that_is_cancelled_twice_still_waits_for_the_engine() -> None:
    backend = Slow.saying(LONG)
    backend.pause_s = 0.2
    task = asyncio.create_task(Guard(backend).aask(QUESTION, max_tokens=1000))
    await first_token(backend)
    task.cancel()
    await asyncio.sleep(0)
    await cancelled(task)
    assert not lock_of(backend).locked


async def test_a_timeout_ends_a_call() -> None:
    backend = Slow.saying(LONG)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Guard(backend).aask(QUESTION, max_tokens=1000), 0.05)
    assert not lock_of(backend).locked


async def test_the_callers_own_token_ends_a_call_and_is_not_cancelled_by_a_task() -> None:
    backend = Slow.saying(LONG, LONG)
    guard, mine = Guard(backend), CancelToken()
    task = asyncio.create_task(guard.aask(QUESTION, max_tokens=1000, cancel=mine))
    await first_token(backend)
    await cancelled(task)
    assert not mine.cancelled
    backend.began.clear()
    task = asyncio.create_task(guard.aask(QUESTION, max_tokens=1000, cancel=mine))
    await first_token(backend)
    mine.cancel()
    result = await task
    assert (result.verdict, result.trace.finish_reason) == ("unscored", "cancelled")


async def test_calls_are_served_in_the_order_in_which_they_came() -> None:
    backend = Gated.saying(*[SURE] * 20)
    guards = [Guard(backend), Guard(backend)]
    questions = [f"question {i}?" for i in range(20)]
    tasks = []
    for i, question in enumerate(questions):
        tasks.append(asyncio.create_task(guards[i % 2].aask(question)))
        await asyncio.sleep(0)
    backend.gate.set()
    await asyncio.gather(*tasks)
    assert backend.asked == questions


async def test_a_call_that_is_cancelled_in_the_queue_is_never_asked() -> None:
    backend = Gated.saying(SURE, SURE)
    guard = Guard(backend)
    first, second, third = (asyncio.create_task(guard.aask(f"{i}?")) for i in range(3))
    await asyncio.sleep(0.01)
    await cancelled(second)
    assert not first.done(), "the second waited for nobody"
    backend.gate.set()
    assert [(await task).answer for task in (first, third)] == ["Paris", "Paris"]
    assert backend.asked == ["0?", "2?"]


async def test_a_deadline_holds_in_the_queue() -> None:
    backend = Gated.saying(SURE)
    guard = Guard(backend)
    first = asyncio.create_task(guard.aask("first?"))
    await asyncio.sleep(0.01)
    with pytest.raises(EngineBusyError, match="out of time"):
        await guard.aask("second?", deadline=time.monotonic() + 0.02)
    assert not first.done()
    backend.gate.set()
    await first
    assert backend.asked == ["first?"]


async def test_a_policys_time_runs_while_a_call_is_in_the_queue() -> None:
    backend = Gated.saying(SURE)
    first = asyncio.create_task(Guard(backend).aask("first?"))
    await asyncio.sleep(0.01)
    hurried = Guard(backend, Policy(detector="nll:max", deadline_s=0.02))
    with pytest.raises(EngineBusyError):
        await hurried.aask("second?")
    backend.gate.set()
    await first


async def test_two_engines_work_at_the_same_time() -> None:
    one, other = Gated.saying(SURE), Scripted.saying(SURE)
    waiting = asyncio.create_task(Guard(one).aask(QUESTION))
    assert (await Guard(other).aask(QUESTION)).answer == "Paris"
    assert not waiting.done()
    one.gate.set()
    await waiting


async def test_a_hundred_cancelled_tasks_leave_no_lock_and_no_thread_of_their_own() -> None:
    backend = Slow.saying(*[LONG] * 101)
    guard = Guard(backend)
    before = set(threading.enumerate())

    def started() -> set[threading.Thread]:
        return set(threading.enumerate()) - before

    for i in range(100):
        backend.began.clear()
        task = asyncio.create_task(guard.aask(QUESTION, max_tokens=1000))
        if i % 2:
            while not backend.began.is_set():
                await asyncio.sleep(0.001)
        else:
            await asyncio.sleep(0)
        await cancelled(task)
        assert not lock_of(backend).locked
    assert len(started()) <= 1, "the engine's"
    del backend, guard, task
    gc.collect()
    until = time.monotonic() + 10
    while started() and time.monotonic() < until:
        await asyncio.sleep(0.01)
    assert not started(), "it ends with the engine"


async def test_a_crowd_that_is_cancelled_at_once_leaves_the_engine_free() -> None:
    backend = Slow.saying(*[LONG] * 101)
    guard = Guard(backend)
    tasks = [asyncio.create_task(guard.aask(QUESTION, max_tokens=1000)) for _ in range(100)]
    await first_token(backend)
    before = len(backend.tokens)
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
    assert len(backend.tokens) <= before + 100, "one token each at the most, of a thousand"
    assert not lock_of(backend).locked
    assert (await guard.aask(QUESTION, max_tokens=2)).answer == "so so "


async def test_what_the_engine_raises_is_raised_here_and_the_next_call_is_served() -> None:
    good = Scripted.saying(SURE)._scripts[0]
    broken = Script(good.ids, good.rows, fail_at=1)
    backend = Scripted([b"", b"Par", b"is", b"?"], [broken, broken, good], end=0)
    guard = Guard(backend)
    with pytest.raises(EngineError, match="breaks before token 1"):
        await guard.aask(QUESTION)
    heard: list[GuardEvent] = []
    with pytest.raises(EngineError, match="breaks before token 1"):
        async for event in guard.astream(QUESTION):
            heard.append(event)
    assert heard, "what came before it is heard"
    assert (await guard.aask(QUESTION)).answer == "Paris"


async def test_a_bad_prompt_is_refused_before_anything_is_queued() -> None:
    guard = Guard(Scripted.saying())
    with pytest.raises(PromptError, match="empty"):
        guard.astream("")
    with pytest.raises(PromptError, match="empty"):
        await guard.aask("")


async def test_the_work_sees_the_callers_context_variables() -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    backend, request = Scripted.saying(), Request.chat(QUESTION)
    who.set("the caller")
    seen = await run(backend, request, lambda _: (who.get(), threading.current_thread().name))
    assert seen[0] == "the caller"
    assert seen[1] != threading.current_thread().name


def test_one_engine_serves_several_loops() -> None:
    guard = Guard(Scripted.saying(SURE, SURE))
    answers = [asyncio.run(guard.aask(QUESTION)).answer for _ in range(2)]
    assert answers == ["Paris", "Paris"]


def test_a_loop_that_ends_with_a_stream_open_stops_the_engine() -> None:
    backend = Slow.saying(LONG, SURE)
    guard = Guard(backend)

    async def leave() -> None:
        async for event in guard.astream(QUESTION, max_tokens=1000):
            if isinstance(event, Text):
                break

    asyncio.run(leave())
    assert len(backend.tokens) < 50
    assert guard.ask(QUESTION).answer == "Paris"


@pytest.mark.model
async def test_the_embedded_model_stops_within_a_token_and_answers_the_next(demo: Any) -> None:
    guard = Guard(demo)
    whole = guard.ask("Tell me a long story.", max_tokens=40).trace
    count = 0
    async with aclosing(guard.astream("Tell me a long story.", max_tokens=400)) as events:
        async for event in events:
            count += isinstance(event, Text)
            if count == 5:
                break
    assert not lock_of(demo.engine).locked
    task = asyncio.create_task(guard.aask("Tell me a long story.", max_tokens=400))
    await asyncio.sleep(0.3)
    began = time.monotonic()
    await cancelled(task)
    assert time.monotonic() - began < 2.0, "not the time of four hundred tokens"
    again = await guard.aask("Tell me a long story.", max_tokens=40)
    assert again.trace.ids.tolist() == whole.ids.tolist()
