"""Callers that ask as one: each is told when its own question is settled."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import SimpleNamespace
from typing import Any

import pytest

from energy_guard import Guard, Policy
from energy_guard.asynchronous import in_thread_of
from energy_guard.attempts import Hearing
from energy_guard.backends import Scripted
from energy_guard.backends.scripted import Script
from energy_guard.errors import EngineBusyError, EngineError
from energy_guard.gathering import Gathering
from energy_guard.request import Event, Request
from energy_guard.waves import result_of

SURE, DOUBTFUL = [("so", 0.9)], [("no", 0.1)]
RULES = Policy(detector="nll:max", warn=1.0, abstain=1.0)
TWICE = RULES.model_copy(update={"retries": 1})
FALLS_BACK = TWICE.model_copy(update={"retry": ("fallback",)})


class Held(Scripted):
    """Writes an answer that follows so many others when it is let go, and not before."""

    after = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.waiting, self.go = threading.Event(), threading.Event()

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        if self.after == 0:
            self.waiting.set()
            assert self.go.wait(20)
        self.after -= 1
        yield from super()._play(number, request, script)


def held(after: int, *scripts: Sequence[tuple[str, float]]) -> Held:
    backend = Held.saying(*scripts)
    backend.after = after
    return backend


def answer(told: Future[Any]) -> str:
    return result_of(told.result(20)).answer


def test_who_is_settled_does_not_wait_for_the_retries_of_others() -> None:
    backend = held(2, SURE, DOUBTFUL, [("again", 0.9)])
    guard, gathering = Guard(backend, TWICE, locator="whole"), Gathering(2)
    [first] = gathering.come([guard.question("a?")])
    [second] = gathering.come([guard.question("b?")])
    assert answer(first) == "so"
    assert not second.done()
    backend.go.set()
    assert answer(second) == "again"


@pytest.mark.parametrize("busy", ["the engine", "the fallback"])
def test_retries_and_another_guard_do_not_wait_for_each_other(busy: str) -> None:
    """The first question asks another guard, the second one the same engine again."""
    other = held(0 if busy == "the fallback" else 1, [("else", 0.9)])
    backend = held(-1 if busy == "the fallback" else 2, DOUBTFUL, DOUBTFUL, [("again", 0.9)])
    falls = Guard(backend, FALLS_BACK, locator="whole", fallback=Guard(other, RULES))
    again, gathering = Guard(backend, TWICE, locator="whole"), Gathering(1)
    first, second = gathering.come([falls.question("a?"), again.question("b?")])
    if busy == "the fallback":
        assert answer(second) == "again"
        assert not first.done()
    else:
        assert answer(first) == "else"
        assert not second.done()
    other.go.set()
    backend.go.set()
    assert (answer(first), answer(second)) == ("else", "again")


def test_another_guard_over_the_same_engine_comes_after_the_waves() -> None:
    backend = Scripted.saying(DOUBTFUL, DOUBTFUL, [("again", 0.9)], [("else", 0.9)])
    falls = Guard(backend, FALLS_BACK, locator="whole", fallback=Guard(backend, RULES))
    again = Guard(backend, TWICE, locator="whole")
    first, second = Gathering(1).come([falls.question("a?"), again.question("b?")])
    assert (answer(first), answer(second)) == ("else", "again")


def test_nobody_waits_for_one_that_has_gone_and_all_that_went_ask_nothing() -> None:
    guard, gathering = Guard(Scripted.saying(SURE), RULES), Gathering(2)
    [told] = gathering.come([guard.question("a?")])
    assert gathering.come([]) == []
    assert answer(told) == "so"
    assert Gathering(1).come([]) == []


def test_a_mistake_in_the_middle_is_told_to_all_who_still_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guard, other = (Guard(Scripted.saying(SURE, SURE), RULES) for _ in range(2))
    guard.backend = other.backend

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(other, "_concluded", broken)
    first, second = Gathering(1).come([guard.question("a?"), other.question("b?")])
    assert answer(first) == "so"
    with pytest.raises(ZeroDivisionError):
        second.result(20)


def test_an_engine_that_fails_is_told_to_all() -> None:
    guard = Guard(Scripted.saying(), RULES)
    for told in Gathering(1).come([guard.question("a?"), guard.question("b?")]):
        with pytest.raises(EngineError):
            told.result(20)


async def test_who_is_out_of_time_does_not_wait_for_an_engine_in_use() -> None:
    backend = held(0, SURE, SURE, SURE)
    guard = Guard(backend, RULES)
    [busy] = Gathering(1).come([guard.question("x?")])
    soon = time.monotonic() + 0.1
    late, patient = Gathering(1).come([guard.question("a?", deadline=soon), guard.question("b?")])
    for told in (late, Gathering(2).come([guard.question("c?", deadline=soon)])[0]):
        with pytest.raises(EngineBusyError, match="out of time"):
            await told.in_time_async()
        with pytest.raises(EngineBusyError, match="out of time"):
            told.in_time()
    assert not busy.done()
    backend.go.set()
    assert result_of(await patient.in_time_async()).answer == "so"
    assert answer(busy) == "so"


class Clock(SimpleNamespace):
    """Tells the time of now, and an hour more once it is late."""

    late = False

    def monotonic(self) -> float:
        return time.monotonic() + 3600 * self.late


def test_what_is_written_in_time_is_heard_when_the_others_of_its_wave_take_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr("energy_guard.gathering.time", clock)
    monkeypatch.setattr("energy_guard.request.time", clock)
    backend = held(1, SURE, SURE)
    guard, deadline = Guard(backend, RULES), time.monotonic() + 1800
    asked = [guard.question(each, deadline=deadline) for each in ("a?", "b?")]
    first, second = Gathering(1).come(asked)
    assert backend.waiting.wait(20)
    clock.late = True
    with ThreadPoolExecutor(2) as others:
        heard = [others.submit(first.in_time), others.submit(asyncio.run, first.in_time_async())]
        try:
            assert not wait(heard, 0.2).done
        finally:
            backend.go.set()
    assert [result_of(each.result()).answer for each in heard] == ["so", "so"]
    assert result_of(second.in_time()).trace.finish_reason == "deadline"


@pytest.mark.parametrize("late_when", ["it is judged", "it waits for the other engine"])
def test_who_is_out_of_time_does_not_wait_for_another_guard(
    late_when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, other, assess = Clock(), Scripted.saying(SURE), Hearing.assess
    free, waits = threading.Event(), threading.Event()
    guard = Guard(
        Scripted.saying(DOUBTFUL), FALLS_BACK, locator="whole", fallback=Guard(other, RULES)
    )
    in_use = in_thread_of(other, lambda: None if free.wait(60) else pytest.fail("no answer"))

    def judged(*args: Any, **options: Any) -> Any:
        attempt = assess(*args, **options)
        clock.late = late_when == "it is judged"
        return attempt

    def queued(backend: Any, work: Any) -> Any:
        future = in_thread_of(backend, work)
        if backend is other:
            clock.late = True
            waits.set()
        return future

    monkeypatch.setattr("energy_guard.request.time", clock)
    monkeypatch.setattr("energy_guard.gathering.time", clock)
    monkeypatch.setattr("energy_guard.gathering.in_thread_of", queued)
    monkeypatch.setattr(Hearing, "assess", judged)
    [told] = Gathering(1).come([guard.question("a?", deadline=time.monotonic() + 1800)])
    try:
        if late_when == "it is judged":
            assert result_of(told.result(20)).trace.finish_reason == "deadline"
        else:
            assert waits.wait(20)
            with pytest.raises(EngineBusyError, match="out of time"):
                told.in_time()
        assert not in_use.done()
    finally:
        free.set()
