"""One lock per engine object, shared by every Guard and capture on it."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from energy_guard.errors import EngineBusyError

DEFAULT_WAIT_S: Final = 300.0
"""How long a call waits for an engine that is in use, in seconds."""

_SLICE_S: Final = 0.05


class EngineLock:
    """A lock that may be released by another thread than the one that took it.

    A generator that holds it may be closed anywhere (an event loop's executor, the garbage
    collector), so this is no RLock. A `capture` lets its own thread generate inside it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._holds: list[bool] = []  # whether each may be held again inside

    @contextmanager
    def hold(
        self, wait_s: float, shared: bool = False, give_up: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """Hold the engine; `shared` lets this thread hold it once more inside.

        Raises EngineBusyError after `wait_s` seconds, when `give_up` says so, or at once where
        this thread itself holds the engine and waiting would be for ever.
        """
        mine = self._owner == threading.get_ident()
        if mine and not self._holds[-1]:
            raise EngineBusyError(
                "this thread already uses the engine: a stream or generator on it is still open",
                "Close it (or read it to its end) before you ask again.",
            )
        if not mine:
            self._wait(wait_s, give_up)
            self._owner = threading.get_ident()
        self._holds.append(shared)
        try:
            yield
        finally:
            self._holds.remove(shared)
            if not self._holds:  # what was opened inside a capture may outlive it
                self._owner = None
                self._lock.release()

    def _wait(self, wait_s: float, give_up: Callable[[], bool]) -> None:
        until = time.monotonic() + wait_s
        while not self._lock.acquire(timeout=max(0.0, min(_SLICE_S, until - time.monotonic()))):
            if give_up():
                raise EngineBusyError(
                    "cancelled, or out of time, while the engine was in use",
                    "Ask again when it is free, or load a second engine.",
                )
            if time.monotonic() >= until:
                raise EngineBusyError(
                    f"the engine was in use for more than {wait_s:g} s",
                    "Wait for the other call, give it a longer wait_s, or load a second engine.",
                )

    @property
    def locked(self) -> bool:
        """Whether somebody holds the engine now."""
        return self._lock.locked()


_locks: weakref.WeakKeyDictionary[object, EngineLock] = weakref.WeakKeyDictionary()
_registry = threading.Lock()


def lock_of(engine: object) -> EngineLock:
    """Return the one lock of this engine object."""
    with _registry:
        return _locks.setdefault(engine, EngineLock())
