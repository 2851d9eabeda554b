from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_energy_guard.engine_calls import CallChanges, EngineCalls

from energy_guard import Guard
from energy_guard.backends import Scripted
from energy_guard.decide import Changes


class Engine:
    """As much of a llama_cpp.Llama as is stood in for."""

    def create_completion(self, prompt: str, stream: bool = False, **settings: Any) -> Any:
        return iter(prompt) if stream else {"text": prompt, "settings": settings}

    def create_chat_completion(self, messages: list[Any]) -> list[Any]:
        return messages


@pytest.fixture
def calls() -> EngineCalls:
    return EngineCalls(None)


def test_who_waits_for_an_idle_engine_is_told_at_once(calls: EngineCalls) -> None:
    assert calls.idle().done()
    assert calls.idle().done(), "every time"


def test_who_waits_for_a_stream_is_told_at_its_end(calls: EngineCalls) -> None:
    engine = Engine()
    with calls.standing_in(engine):
        stream: Iterator[str] = engine.create_completion("ab", stream=True)
        next(stream)
        waiting = [calls.idle(), calls.idle()]
        assert not any(future.done() for future in waiting)
        assert list(stream) == ["b"]
        assert all(future.done() for future in waiting)


def test_calls_are_closed_once_after_the_last_of_them(calls: EngineCalls) -> None:
    engine, ends = Engine(), []
    with calls.standing_in(engine):
        stream: Iterator[str] = engine.create_completion("ab", stream=True)
        next(stream)
        calls.close(lambda: ends.append("first"))
        calls.close(lambda: ends.append("second"))
        assert ends == []
        list(stream)
    assert ends == ["first"]


def test_the_engine_is_left_as_it_was_found(calls: EngineCalls) -> None:
    engine = Engine()
    with calls.standing_in(engine):
        assert "create_completion" in vars(engine)
    assert vars(engine) == {}


@pytest.mark.parametrize(("retries", "seed"), [(1, 8), (2, 9)])
def test_a_retry_changes_the_call_as_a_guard_would(retries: int, seed: int) -> None:
    result = Guard(Scripted.saying([("Paris", 0.9)])).ask("Which city?")
    changes = Changes(temperature=0.7, fresh_seed=True, feedback="Sure?")
    engine = Engine()
    calls = EngineCalls(CallChanges(changes, list(result.attempts) * retries))
    with calls.standing_in(engine):
        answer = engine.create_completion("?", seed=7, top_k=3)
        told = engine.create_chat_completion([{"role": "user", "content": "Which city?"}])
    assert answer["settings"] == {"temperature": 0.7, "seed": seed, "top_k": 3}
    assert [turn["content"] for turn in told] == ["Which city?", "Paris", "Sure?"]


def test_a_retry_without_a_seed_draws_one() -> None:
    changes = CallChanges(Changes(fresh_seed=True), [])
    assert changes.sampling({})["seed"] != changes.sampling({})["seed"]
