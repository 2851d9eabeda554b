"""One lock per engine object, shared by every Guard and capture on it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from energy_guard.errors import EngineBusyError

DEFAULT_WAIT_S: Final = 300.0
"""How long a call waits for an engine that is in use, in seconds."""


class EngineLock:
    """A lock that may be released by another thread than the one that took it.

    A generator that holds it may be closed anywhere (an event loop's executor, the garbage
    collector), so this is no RLock. A `capture` lets its own thread generate inside it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._shared = False
        self._holds = 0

    @contextmanager
    def hold(self, wait_s: float, shared: bool = False) -> Iterator[None]:
        """Hold the engine; `shared` lets this thread hold it again inside.

        Raises EngineBusyError after `wait_s` seconds, or at once where this thread itself holds
        the engine and waiting would be for ever.
        """
        mine = self._owner == threading.get_ident()
        if mine and not self._shared:
            raise EngineBusyError(
                "this thread already uses the engine: a stream or generator on it is still open",
                "Close it (or read it to its end) before you ask again.",
            )
        if not mine:
            if not self._lock.acquire(timeout=wait_s):
                raise EngineBusyError(
                    f"the engine was in use for more than {wait_s:g} s",
                    "Wait for the other call, give it a longer wait_s, or load a second engine.",
                )
            self._owner, self._shared = threading.get_ident(), shared
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:  # what was opened inside a capture may outlive it
                self._owner = None
                self._lock.release()

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
