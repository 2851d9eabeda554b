"""Work that hands things over while it runs, as a generator: in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Generic, Protocol, TypeVar

T = TypeVar("T")
T_in = TypeVar("T_in", contravariant=True)


_END: Final = object()


class _Closed(BaseException):
    """Unwinds the work when nobody listens any more."""


class Emit(Protocol[T_in]):
    """Takes items from the work. closed: nobody listens any more."""

    closed: bool

    def __call__(self, item: T_in, /) -> None:
        """Take an item."""
        ...


class Kept(Generic[T]):
    """Keeps some of the items for later."""

    def __init__(self, wanted: Callable[[T], bool]) -> None:
        self.closed = False
        self.items: list[T] = []
        self._wanted = wanted

    def __call__(self, items: Iterable[T], /) -> None:
        """Take a list of items."""
        self.items += filter(self._wanted, items)


class _Handover(Generic[T]):
    """Hands items to another thread; after `close` the next one unwinds the work."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.closed = False
        self._items: SimpleQueue[T | object] = SimpleQueue()
        self._resume = threading.Semaphore(0)

    def __call__(self, item: T) -> None:
        """Hand over, and wait until the next item is wanted."""
        if not self.closed:
            self._items.put(item)
            self._resume.acquire()
        if self.closed:
            raise _Closed

    def run(self, work: Callable[[Emit[T]], None]) -> None:
        """Do the work; whatever ends it is kept for the thread that listens."""
        with self:
            work(self)

    def items(self) -> Generator[T, None, None]:
        """Yield the items as they come."""
        while (item := self._items.get()) is not _END:
            yield item  # type: ignore[misc]
            self._resume.release()

    def close(self) -> None:
        """Let the work end at its next item."""
        self.closed = True
        self._resume.release()

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        self.error = None if isinstance(error, _Closed) else error
        self._items.put(_END)
        return True


def stepwise(work: Callable[[Emit[T]], None]) -> Generator[T, None, None]:
    """Run `work(emit)` in a thread, and yield what it emits.

    The work waits at each `emit` until the next item is asked for, so it never runs ahead. What
    it raises is raised here. When the generator is closed, the work is unwound from its next
    `emit`, and its thread has ended before the close returns.
    """
    handover: _Handover[T] = _Handover()
    # A daemon: an open generator must not keep the interpreter from exiting.
    thread = threading.Thread(target=handover.run, args=(work,), name="energy-guard", daemon=True)
    thread.start()
    try:
        yield from handover.items()
    finally:
        handover.close()
        thread.join()
    if handover.error is not None:
        raise handover.error
