"""Attacked: one guard by sixteen threads at once, whose streams are dropped anywhere."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from energy_guard import Guard, Request, Result, Sampling, load
from energy_guard.backends.locks import lock_of
from energy_guard.events import Text

from .case import Case, Kind, Make
from .models import MODEL, prepare

_THREADS: Final = 16
_STREAMS: Final = 3
_TOKENS: Final = 12


def request(number: int) -> Request:
    """A question that no other number has, answered by chance and repeatably."""
    sampling = Sampling(temperature=1.0, seed=number)
    return Request.raw(f"question {number}: ", max_tokens=_TOKENS, sampling=sampling)


class Alone:
    """What a guard answers when nobody else asks it."""

    def __init__(self, path: Path) -> None:
        self._guard = Guard(load(path, n_ctx=128, n_threads=1))

    def check(self, number: int, result: Result) -> None:
        """Hold a result of question `number` against what is answered alone."""
        alone = self._guard.ask(request(number))
        assert result.answer == alone.answer, f"question {number} has another answer than alone"
        assert result.verdict == alone.verdict
        np.testing.assert_allclose(result.trace.nll, alone.trace.nll, rtol=0, atol=1e-3)


def open_threads(folder: Path) -> Make:
    backend: Any = load(folder / MODEL, n_ctx=128, n_threads=1)
    guard, alone = Guard(backend), Alone(folder / MODEL)

    def make(number: int, dice: Random) -> Case:
        plans = [[dice.randrange(4) for _ in range(_STREAMS)] for _ in range(_THREADS)]
        leave = [[dice.randrange(_TOKENS) for _ in range(_STREAMS)] for _ in range(_THREADS)]

        def run() -> None:
            before = {*threading.enumerate()}
            whole: list[tuple[int, Result]] = []
            wrong: list[BaseException] = []

            def use(thread: int) -> None:
                for turn, plan in enumerate(plans[thread]):
                    asked = 1000 * number + _STREAMS * thread + turn
                    if plan == 0:
                        whole.append((asked, guard.ask(request(asked))))
                    else:
                        _drop(guard, asked, plan, leave[thread][turn])

            failed = threading.excepthook
            threading.excepthook = lambda caught: wrong.append(caught.exc_value or SystemExit())
            try:
                threads = [threading.Thread(target=use, args=(n,)) for n in range(_THREADS)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            finally:
                threading.excepthook = failed
            assert not wrong, repr(wrong)
            check_nothing_is_left(backend, before)
            for asked, result in whole:
                alone.check(asked, result)
            alone.check(7, guard.ask(request(7)))

        return Case(
            f"{_THREADS} threads; per stream 0 whole, 1 closed, 2 deleted, 3 left by an "
            f"error: {plans}, after so many pieces: {leave}",
            run,
        )

    return make


def _drop(guard: Guard, asked: int, plan: int, pieces: int) -> None:
    stream = guard.stream(request(asked))
    try:
        for event in stream:
            pieces -= isinstance(event, Text)
            if pieces < 0:
                if plan == 3:
                    raise ZeroDivisionError
                break
    except ZeroDivisionError:
        pass
    if plan == 1:
        stream.close()
    del stream


def check_nothing_is_left(backend: Any, before: set[threading.Thread]) -> None:
    """No lock is held and no thread is there that was not there before."""
    gc.collect()
    until = time.monotonic() + 5
    while (more := {*threading.enumerate()} - before) and time.monotonic() < until:
        time.sleep(0.01)
    assert not more, f"threads are left: {more}"
    assert not lock_of(backend.engine).locked, "the engine's lock is held"


KIND: Final = Kind(
    "16 threads on one guard, streams dropped", 20, open_threads, prepare, limit_s=120
)
