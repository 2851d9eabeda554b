"""Work for one request, in a task of its own: it ends when the client goes away.

Only the job is cancelled then, so that the engine is free within one token, whatever the response
is doing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

from starlette.types import Receive

from energy_guard.server.errors import ApiError, stopping
from energy_guard.server.waiting import QueuePlace

T = TypeVar("T")

Emit = Callable[[bytes], None]
"""Takes what a job has ready to be sent."""

_END: Final = b""
"""Ends the items of a job; no item is empty."""


class ClientJob(Generic[T]):
    """A piece of work that holds a place in the line until it has ended.

    place: when its turn comes is up to the work, which waits for it.
    """

    def __init__(self, work: Callable[[Emit], Coroutine[Any, Any, T]], place: QueuePlace) -> None:
        self.place = place
        self._gone = False
        self._items: asyncio.Queue[bytes] = asyncio.Queue()
        self._begun = asyncio.Event()
        self._task = asyncio.create_task(work(self._emit))
        self._task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """End it within one token."""
        self._task.cancel()

    def when_done(self, call: Callable[[ClientJob[T]], None]) -> None:
        """Have something called when it has ended."""
        self._task.add_done_callback(lambda _: call(self))

    def result(self) -> T:
        """What came of it, once it has ended; ApiError if it was cancelled."""
        if self._task.cancelled():
            raise ApiError(499, "the client has gone away") if self._gone else stopping()
        return self._task.result()

    async def whole(self, receive: Receive) -> T:
        """Wait for the end, which comes soon if the client goes away; return the result."""
        with self._watched(receive):
            try:
                await asyncio.wait({self._task})
            finally:
                self.cancel()
        return self.result()

    async def begun(self, receive: Receive, silent_s: float) -> None:
        """Wait for the first item or the end, but not longer than `silent_s` seconds.

        Whatever the job raises before its first item is raised here.
        """
        with self._watched(receive):
            try:
                async with asyncio.timeout(silent_s):
                    await self._begun.wait()
            except TimeoutError:
                return
            except asyncio.CancelledError:
                self.cancel()
                raise
        if self._task.done():
            self.result()

    async def each(
        self,
        receive: Receive,
        send: Callable[[bytes], Awaitable[None]],
        *,
        ping: bytes,
        silent_s: float,
    ) -> None:
        """Send the items as they come, to the end of the job.

        Args:
            receive: tells that the client has gone away; the job is cancelled then.
            send: takes an item.
            ping: what is sent when there is nothing else.
            silent_s: after how many seconds.
        """
        with self._watched(receive):
            try:
                while True:
                    try:
                        async with asyncio.timeout(silent_s):
                            item = await self._items.get()
                    except TimeoutError:
                        item = ping
                    if item == _END:
                        return
                    await send(item)
            finally:
                self.cancel()

    @contextmanager
    def _watched(self, receive: Receive) -> Iterator[None]:
        """Cancel the job as soon as its client goes away."""
        watching = asyncio.create_task(self._watch(receive))
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self.cancel()

    def _emit(self, item: bytes) -> None:
        self._items.put_nowait(item)
        self._begun.set()

    def _ended(self, task: asyncio.Task[T]) -> None:
        self.place.leave()
        self._items.put_nowait(_END)
        self._begun.set()
        if not task.cancelled():
            task.exception()  # seen here, even if nobody waits for the result any more
