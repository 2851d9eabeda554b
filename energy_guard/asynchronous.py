"""Work on an engine from an event loop: in a thread of the engine's own, one call at a time.

Knows nothing of guards. Calls queue in the order in which they came, from whichever loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import replace
from typing import Final, TypeVar

from energy_guard.backends import Backend
from energy_guard.errors import EngineBusyError
from energy_guard.request import CancelToken, Request

T = TypeVar("T")

_END: Final = object()
_threads: Final[weakref.WeakKeyDictionary[object, ThreadPoolExecutor]] = weakref.WeakKeyDictionary()
_registry: Final = threading.Lock()


async def run(backend: Backend, request: Request, work: Callable[[Request], T]) -> T:
    """Do the work and return what it returns; see `iterate`."""
    [result] = [item async for item in iterate(backend, request, lambda asked: _once(work(asked)))]
    return result


def in_thread_of(backend: Backend, work: Callable[[], None]) -> Future[None]:
    """Have the work done in the engine's thread when it is its turn, to its end.

    Args:
        backend: whose thread does it.
        work: knows itself when it is to stop. Context variables of the caller are seen by it.
    """
    return _thread_of(backend).submit(copy_context().run, work)


async def iterate(
    backend: Backend, request: Request, start: Callable[[Request], Generator[T, None, None]]
) -> AsyncGenerator[T, None]:
    """Yield what the generator yields; it runs ahead of whoever listens.

    When this is cancelled or closed, the engine is told to stop, which it does within one token,
    and the end of its work is waited for: the next call finds it free.

    Args:
        backend: whose thread does the work.
        request: what is asked. Context variables of the caller are seen by the work.
        start: begins the work on the request it is given, which can be cancelled from here.

    Raises:
        EngineBusyError: if the request's deadline passes before it is its turn.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[object] = asyncio.Queue()
    ended = asyncio.Event()
    cancel = CancelToken(request.cancel)
    asked = replace(request, cancel=cancel)

    def work() -> None:
        with closing(start(asked)) as results:
            for item in results:
                loop.call_soon_threadsafe(items.put_nowait, item)

    def end(_: Future[None]) -> None:
        loop.call_soon_threadsafe(items.put_nowait, _END)
        loop.call_soon_threadsafe(ended.set)

    future = in_thread_of(backend, work)
    future.add_done_callback(end)
    late = None
    if request.deadline is not None:
        # Ends the wait in the queue only: work that has begun looks at its deadline itself.
        late = loop.call_later(request.deadline - time.monotonic(), future.cancel)
    try:
        while (item := await items.get()) is not _END:
            yield item  # type: ignore[misc]
        if future.cancelled():
            raise EngineBusyError(
                "out of time, while the engine was in use",
                "Ask again when it is free, or load a second engine.",
            )
        future.result()
    finally:
        if late is not None:
            late.cancel()
        cancel.cancel()
        future.cancel()
        await _whatever_happens(ended)


async def _whatever_happens(ended: asyncio.Event) -> None:
    """Wait for the end, even if the task is cancelled once more: the engine is in use until then.

    The cancellation is passed on afterwards.
    """
    interrupted: asyncio.CancelledError | None = None
    while not ended.is_set():
        try:
            await ended.wait()
        except asyncio.CancelledError as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted


def _once(result: T) -> Generator[T, None, None]:
    yield result


def _thread_of(backend: Backend) -> ThreadPoolExecutor:
    """Return the thread of the engine, which two backends over one engine object share.

    It ends with the engine object.
    """
    engine = getattr(backend, "engine", backend)
    with _registry:
        if engine not in _threads:
            _threads[engine] = ThreadPoolExecutor(1, "energy-guard")
        return _threads[engine]
