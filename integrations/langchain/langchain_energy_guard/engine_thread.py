"""Work on an engine from an event loop: in a thread of the engine's own, one call at a time.

Calls queue in the order in which they came. Who cancels one waits until the engine has stopped,
which is within one token, so that the next call finds it free.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from typing import Final, TypeVar

from energy_guard.backends import Backend
from energy_guard.request import CancelToken

T = TypeVar("T")

_END: Final = object()
_threads: Final[weakref.WeakKeyDictionary[Backend, ThreadPoolExecutor]] = (
    weakref.WeakKeyDictionary()
)


async def run(backend: Backend, work: Callable[[], T], cancel: CancelToken) -> T:
    """Do the work and return what it returns."""
    async with aclosing(iterate(backend, lambda: _once(work), cancel)) as results:
        async for result in results:
            return result
    raise AssertionError("work yields once")  # pragma: no cover


async def iterate(
    backend: Backend, start: Callable[[], Generator[T, None, None]], cancel: CancelToken
) -> AsyncGenerator[T, None]:
    """Yield what the generator yields; it runs ahead of whoever listens.

    Cancels, and waits for the end, when it is cancelled or closed.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[object] = asyncio.Queue()
    ended = asyncio.Event()

    def work() -> None:
        if not cancel.cancelled:  # while it stood in the queue
            for item in start():
                loop.call_soon_threadsafe(items.put_nowait, item)

    def end(_: Future[None]) -> None:
        loop.call_soon_threadsafe(items.put_nowait, _END)
        loop.call_soon_threadsafe(ended.set)

    future = _thread_of(backend).submit(work)
    future.add_done_callback(end)
    try:
        while (item := await items.get()) is not _END:
            yield item  # type: ignore[misc]
        future.result()
    finally:
        cancel.cancel()
        future.cancel()
        await ended.wait()


def _once(work: Callable[[], T]) -> Generator[T, None, None]:
    yield work()


def _thread_of(backend: Backend) -> ThreadPoolExecutor:
    return _threads.setdefault(backend, ThreadPoolExecutor(1, "energy-guard"))
