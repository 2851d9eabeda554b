from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from chat_llama import chat_llama
from langchain_energy_guard import engine_queue
from langchain_energy_guard.engine_queue import EngineLease, running_here

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    chat = chat_llama()
    yield chat.client
    chat.client.close()


@pytest.fixture(autouse=True)
def nobody_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not woken sleeps past the end of the test."""
    monkeypatch.setattr(engine_queue, "_LOOK_AGAIN_S", 60.0)


def lease(engine: object) -> EngineLease:
    return EngineLease(uuid4(), engine, None, None, running_here())


def test_the_next_thread_is_woken_when_the_engine_is_given_back(engine: Any) -> None:
    first, taken, done = lease(engine), threading.Event(), threading.Event()
    first.wait(1.0)

    def second() -> None:
        mine = lease(engine)
        mine.wait(50.0)
        taken.set()
        done.wait(50.0)
        mine.release()

    thread = threading.Thread(target=second)
    thread.start()
    assert not taken.wait(0.2)
    first.release()
    try:
        assert taken.wait(20.0)
    finally:
        done.set()
        thread.join()


async def test_the_next_task_is_woken_when_the_engine_is_given_back(engine: Any) -> None:
    first = lease(engine)
    await first.wait_async(1.0, lambda: None)

    async def second() -> None:
        mine = lease(engine)
        await mine.wait_async(50.0, lambda: None)
        mine.release()

    waiting = asyncio.create_task(second())
    assert (await asyncio.wait([waiting], timeout=0.2)) == (set(), {waiting})
    first.release()
    await asyncio.wait_for(waiting, 20.0)


def test_who_gives_up_lets_the_next_one_in(engine: Any) -> None:
    first, impatient = lease(engine), lease(engine)
    first.wait(1.0)
    queue = engine_queue._queue_of(engine)
    with pytest.raises(RuntimeError, match="no time"), queue.queued(impatient):
        raise RuntimeError("no time")
    third = lease(engine)
    first.release()
    third.wait(1.0)
    third.release()
