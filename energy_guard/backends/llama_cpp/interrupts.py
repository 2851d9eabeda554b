"""Ctrl-C while llama.cpp calls back into Python: what is raised inside a callback would be lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """Let what the handler of an interrupt raises wait until the end of the block.

    The handler itself is called at once: it may be one that only cancels. Yields what says
    whether something waits to be raised: then there is no point in going on. Signals reach the
    main thread alone: in others nothing is done.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield lambda: False
        return
    waiting: list[BaseException] = []

    def hear(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except (KeyboardInterrupt, SystemExit) as error:
            waiting.append(error)

    signal.signal(signal.SIGINT, hear)
    try:
        yield lambda: bool(waiting)
    finally:
        signal.signal(signal.SIGINT, handler)
    if waiting:
        raise waiting[0]
