from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Generator
from typing import Any

import pytest

from energy_guard.backends.locks import EngineLock, lock_of
from energy_guard.errors import EngineBusyError

LONG = 20.0
"""Seconds that no test waits, unless it fails."""


class Engine:
    pass


def in_thread(call: Callable[[], Any]) -> Any:
    """Call in another thread; return the result or the error."""
    box: list[Any] = []

    def work() -> None:
        try:
            box.append(call())
        except EngineBusyError as error:
            box.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(LONG)
    return box[0]


def take(lock: EngineLock, wait_s: float, shared: bool = False) -> str:
    with lock.hold(wait_s, shared):
        return "got it"


def stream(lock: EngineLock, shared: bool = False) -> Generator[int, None, None]:
    with lock.hold(LONG, shared):
        yield 1


def test_the_same_thread_is_told_at_once() -> None:
    lock = EngineLock()
    with lock.hold(LONG):
        began = time.monotonic()
        with pytest.raises(EngineBusyError, match="this thread"):
            take(lock, LONG)
        assert time.monotonic() - began < 1.0
        assert lock.locked, "the failed attempt must not release what the first one holds"
    assert not lock.locked


def test_it_is_released_after_an_error_inside() -> None:
    lock = EngineLock()
    with pytest.raises(ZeroDivisionError), lock.hold(LONG):
        _ = 1 / 0
    assert not lock.locked


def test_a_shared_hold_nests_in_its_own_thread() -> None:
    lock = EngineLock()
    with lock.hold(LONG, shared=True):
        assert take(lock, LONG) == take(lock, LONG, shared=True) == "got it"
        assert lock.locked
    assert not lock.locked


def test_a_shared_hold_shares_with_no_other_thread() -> None:
    lock = EngineLock()
    with lock.hold(LONG, shared=True):
        for shared in (True, False):
            assert isinstance(
                in_thread(lambda shared=shared: take(lock, 0.02, shared)), EngineBusyError
            )


def test_what_was_opened_inside_a_shared_hold_may_outlive_it() -> None:
    lock = EngineLock()
    with lock.hold(LONG, shared=True):
        inner = stream(lock)
        next(inner)
    assert isinstance(in_thread(lambda: take(lock, 0.02)), EngineBusyError)
    inner.close()
    assert in_thread(lambda: take(lock, 0.02)) == "got it"


def test_sharing_ends_with_the_hold() -> None:
    lock = EngineLock()
    take(lock, LONG, shared=True)
    with lock.hold(LONG), pytest.raises(EngineBusyError):
        take(lock, LONG)


def test_another_thread_waits_as_long_as_it_was_told() -> None:
    lock = EngineLock()
    with lock.hold(LONG):
        began = time.monotonic()
        error = in_thread(lambda: take(lock, 0.1))
    assert isinstance(error, EngineBusyError)
    assert "0.1 s" in str(error)
    assert time.monotonic() - began >= 0.1


def test_another_thread_gets_it_when_it_is_free() -> None:
    lock = EngineLock()
    began, box = threading.Event(), []

    def work() -> None:
        began.set()
        box.append(take(lock, LONG))

    thread = threading.Thread(target=work)
    with lock.hold(LONG):
        thread.start()
        began.wait(LONG)
        time.sleep(0.02)
        assert box == []
    thread.join(LONG)
    assert box == ["got it"]
    assert not lock.locked


def test_another_thread_may_close_what_holds_it() -> None:
    lock = EngineLock()
    open_stream = stream(lock)
    next(open_stream)
    in_thread(open_stream.close)
    assert not lock.locked
    assert take(lock, 0.0) == "got it", "this thread no longer counts as the owner"


def test_a_stream_that_is_dropped_releases_it() -> None:
    lock = EngineLock()
    open_stream = stream(lock)
    next(open_stream)
    del open_stream
    gc.collect()
    assert not lock.locked


def test_each_engine_has_one_lock() -> None:
    one, two = Engine(), Engine()
    assert lock_of(one) is lock_of(one)
    assert lock_of(one) is not lock_of(two)


def test_threads_that_ask_at_once_get_one_lock() -> None:
    engine, found = Engine(), []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait(LONG)
        found.append(lock_of(engine))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_a_lock_does_not_keep_its_engine_alive() -> None:
    engine = Engine()
    lock, alive = lock_of(engine), weakref.ref(engine)
    del engine
    gc.collect()
    assert alive() is None
    assert not lock.locked
