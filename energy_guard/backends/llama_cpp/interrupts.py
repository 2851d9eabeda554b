"""Ctrl-C while llama.cpp calls back into Python: raised inside a callback it would be lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_back() -> Iterator[Callable[[], bool]]:
    """Let an interrupt wait until the end of the block; then its handler is called as ever.

    Yields what says whether one is waiting that will raise KeyboardInterrupt: then there is no
    point in going on. Signals reach the main thread alone: in others nothing is done.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield lambda: False
        return
    waiting: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
    try:
        yield lambda: bool(waiting) and handler is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
        for number, frame in waiting[:1]:
            handler(number, frame)
