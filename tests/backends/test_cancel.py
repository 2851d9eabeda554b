from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from energy_guard import Guard, Request, load
from energy_guard.backends import Scripted
from energy_guard.backends.locks import lock_of
from energy_guard.errors import EngineBusyError
from energy_guard.request import CancelToken
from energy_guard.trace import SIGNALS, Trace

OPTIONS = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1}
LONG = Request.raw("The capital of France is Paris, and so on. " * 30, max_tokens=2)


def numbers(trace: Trace) -> dict[str, list[float]]:
    return {name: getattr(trace, name).tolist() for name in ("ids", *SIGNALS)}


@pytest.fixture(scope="module", params=[512, 64], ids=["one batch", "many batches"])
def engine(request: pytest.FixtureRequest) -> Iterator[Any]:
    backend: Any = load("demo", **OPTIONS, n_batch=request.param)
    yield backend
    backend.engine.close()


@pytest.fixture(scope="module")
def undisturbed(engine: Any) -> tuple[Trace, float]:
    """The answer of a fresh engine to the long prompt, and how long it took."""
    began = time.monotonic()
    trace = Guard(engine).ask(LONG).trace
    assert trace.prompt_tokens > 250
    return trace, time.monotonic() - began


@pytest.fixture
def fresh(engine: Any, undisturbed: object) -> Iterator[Any]:
    engine.engine.reset()
    before = set(vars(engine.engine))
    yield engine
    assert set(vars(engine.engine)) == before
    assert not lock_of(engine.engine).locked


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize("how", ["cancelled", "deadline"])
def test_the_reading_of_a_long_prompt_is_ended(
    fresh: Any, undisturbed: tuple[Trace, float], how: str
) -> None:
    whole, full = undisturbed
    cancel, soon = CancelToken(), full / 6
    timer = threading.Timer(soon, cancel.cancel)
    options: dict[str, Any] = {"cancel": cancel}
    if how == "deadline":
        options = {"deadline": time.monotonic() + soon}
    else:
        timer.start()
    began = time.monotonic()
    result = Guard(fresh).ask(LONG, **options)
    took = time.monotonic() - began
    timer.cancel()
    assert soon * 0.9 <= took < full / 2, "the prompt was being read then"
    assert (len(result.trace), result.trace.finish_reason) == (0, how)
    assert (result.verdict, result.shown, result.score) == ("unscored", False, None)
    assert how in result.reason
    again = Guard(fresh).ask(LONG).trace
    assert numbers(again) == numbers(whole), "what a fresh engine gives"


@pytest.mark.slow
@pytest.mark.model
def test_another_question_after_a_cancelled_one_has_the_numbers_of_a_fresh_engine(
    fresh: Any, undisturbed: tuple[Trace, float]
) -> None:
    other: Any = load("demo", **OPTIONS, n_batch=fresh.engine.n_batch)
    expected = Guard(other).ask("What is 2 + 2?", max_tokens=8).trace
    other.engine.close()
    cancel = CancelToken()
    timer = threading.Timer(undisturbed[1] / 6, cancel.cancel)
    timer.start()
    assert len(Guard(fresh).ask(LONG, cancel=cancel).trace) == 0
    found = Guard(fresh).ask("What is 2 + 2?", max_tokens=8).trace
    assert numbers(found) == numbers(expected)


@pytest.mark.slow
@pytest.mark.model
def test_a_replay_is_cancelled_while_it_reads_the_prompt(
    fresh: Any, undisturbed: tuple[Trace, float]
) -> None:
    full, cancel = undisturbed[1], CancelToken()
    threading.Timer(full / 6, cancel.cancel).start()
    began = time.monotonic()
    result = Guard(fresh).score(Request.raw(LONG.text or "", cancel=cancel), " Paris")
    assert time.monotonic() - began < full / 2
    assert (len(result.trace), result.verdict, result.shown) == (0, "unscored", False)


def test_a_token_is_cancelled_with_its_parent_and_not_the_other_way_round() -> None:
    parent = CancelToken()
    child, sibling = CancelToken(parent), CancelToken(parent)
    assert (child.cancelled, child.reason) == (False, None)
    child.cancel("stopped")
    assert (child.reason, parent.reason, sibling.reason) == ("stopped", None, None)
    parent.cancel()
    assert (child.reason, parent.reason, sibling.reason) == ("stopped", "cancelled", "cancelled")
    child.cancel()
    assert child.reason == "stopped", "the first reason stays"


def test_who_is_cancelled_while_waiting_waits_no_longer() -> None:
    backend = Scripted.saying([("a", 0.9), ("b", 0.9)], [("c", 0.99)])
    guard, cancel = Guard(backend), CancelToken()
    results: list[EngineBusyError] = []
    stream = guard.stream("first")
    next(stream)

    def ask() -> None:
        try:
            guard.ask("second", cancel=cancel)
        except EngineBusyError as error:
            results.append(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    time.sleep(0.05)
    cancel.cancel()
    waiting.join(10)
    assert not waiting.is_alive(), "it does not wait for the engine to be free"
    assert "cancelled" in results[0].message
    assert list(stream)[-1].result.answer == "ab"  # type: ignore[union-attr]


def test_a_deadline_holds_while_the_engine_is_in_use() -> None:
    backend = Scripted.saying([("a", 0.9)], [("c", 0.99)])
    guard = Guard(backend)
    stream = guard.stream("first")
    next(stream)
    errors: list[EngineBusyError] = []

    def ask() -> None:
        try:
            guard.ask("second", deadline=time.monotonic() + 0.1)
        except EngineBusyError as error:
            errors.append(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    waiting.join(10)
    assert not waiting.is_alive()
    assert len(errors) == 1


def test_one_token_cancels_several_questions_and_stays_cancelled() -> None:
    cancel = CancelToken()
    guard = Guard(Scripted.saying([("a", 0.99)], [("a", 0.99)], [("a", 0.99)]))
    assert guard.ask("?", cancel=cancel).verdict == "accept"
    cancel.cancel()
    assert guard.ask("?", cancel=cancel).verdict == "unscored"
    assert guard.ask("?").verdict == "accept"
