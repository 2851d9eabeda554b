"""What is owed to a token, done on a thread of its own while the engine decodes the next one.

Not sooner: between two decodes the thread that writes works in Python, and whoever takes the
interpreter's lock from it has it woken up again. Nor does it wake the other thread, which would
cost it more than copying a row does: that one looks by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, RLock, Thread, current_thread
from typing import Final

_LOOKS_EVERY_S: Final = 0.001
"""Short beside a token; a token that is shorter still has its work done by who settles."""


def has_idle_cores(threads: int) -> bool:
    """Whether a thread more does not take a processor from those that decode."""
    usable = getattr(os, "sched_getaffinity", None)  # not on every system
    return threads < (len(usable(0)) if usable else os.cpu_count() or 1)


class Behind:
    """Does one piece of work after the other, each before the next one is owed.

    Work raises nothing. It is done on a thread that `running` starts, or by whoever settles before
    that one has looked. Every call may come from any thread, and from what a collection of garbage
    runs in the middle of the work: then that counts as done.
    """

    def __init__(self) -> None:
        self._working = RLock()
        self._owed: Callable[[], object] | None = None
        self._decoding = False
        self._ended = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have a thread look for work until the block ends, or all is to end."""
        over = Lock()
        over.acquire()
        thread = Thread(target=self._look, args=(over,), name="energy-guard-rows", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.release()
            if thread is not current_thread():  # on which a stream is collected that nobody holds
                thread.join()

    def end(self) -> None:
        """Have no thread look any more, though somebody's block goes on."""
        self._ended = True

    def owe(self, work: Callable[[], object]) -> None:
        """Take work that nobody waits for; what was owed before is done first."""
        with self._working:
            self._do()
            self._owed = work

    def begin(self) -> None:
        """Let the work be done: the engine decodes now."""
        self._decoding = True

    def settle(self) -> None:
        """Wait until nothing is owed, and do here what nobody has begun."""
        self._decoding = False
        with self._working:
            self._do()

    def _look(self, over: Lock) -> None:
        while not over.acquire(timeout=_LOOKS_EVERY_S) and not self._ended:
            if self._decoding and self._owed is not None:
                with self._working:
                    self._do()

    def _do(self) -> None:
        work, self._owed = self._owed, None
        if work is not None:
            work()
