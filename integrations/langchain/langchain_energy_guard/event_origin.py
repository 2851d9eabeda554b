"""In which event loop a run is, which an asynchronous handler has to know of every event.

LangChain asks a handler whether an event is for it in the run's own context. If the run is a
synchronous one, the event is then handled in a loop that is made for it, with that same context.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass

from energy_guard.errors import ConfigError


@dataclass
class EventOrigin:
    """Where LangChain asked: in a loop, or in none.

    error: what a synchronous run is to fail with, left by whoever handles the event.
    """

    loop: asyncio.AbstractEventLoop | None
    error: ConfigError | None = None


_origin: ContextVar[EventOrigin | None] = ContextVar("energy_guard_event_origin", default=None)


def note_origin() -> EventOrigin:
    """Note where we are: a loop; or none in a synchronous run, and in a thread that streams."""
    loop = None
    with suppress(RuntimeError):
        loop = asyncio.get_running_loop()
    origin = EventOrigin(loop)
    _origin.set(origin)
    return origin


def last_origin() -> EventOrigin | None:
    """Return what was noted last in this context."""
    return _origin.get()


def in_own_loop() -> bool:
    """Whether an event is handled in the loop in which its run is."""
    origin = _origin.get()
    return origin is not None and origin.loop is asyncio.get_running_loop()
