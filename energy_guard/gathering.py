"""Callers that wait for each other and ask as one: from threads and event loops alike."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait
from typing import Final

from energy_guard.asynchronous import in_thread_of
from energy_guard.errors import EnergyGuardError, EngineBusyError, EngineError
from energy_guard.events import GuardEvent
from energy_guard.waves import WaveQuestion, in_waves

_ENDING_S: Final = 0.5
"""How long an engine may take to end an answer that is out of time, in seconds."""


class Awaited(Future[list[GuardEvent]]):
    """All events of a question, as soon as it is settled; raises whatever that failed of.

    Whoever waits for it cannot cancel it: the wave goes on all the same.
    """

    def __init__(self, deadline: float | None) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self._deadline = deadline

    def in_time(self) -> list[GuardEvent]:
        """Wait for the events until the question is out of time.

        Raises:
            EngineBusyError: if it waits for the engine then, or for others of its wave.
            EnergyGuardError: whatever the question failed of.
        """
        if not wait([self], self._left_s()).done:
            raise _out_of_time()
        return self.result()

    async def in_time_async(self) -> list[GuardEvent]:
        """Wait as `in_time` does, in an event loop."""
        heard = asyncio.wrap_future(self)
        try:
            if not (await asyncio.wait([heard], timeout=self._left_s()))[0]:
                raise _out_of_time()
            return heard.result()
        finally:
            heard.cancel()  # so that nobody misses the loop if that ends before the wave

    def _left_s(self) -> float | None:
        if self._deadline is None:
            return None
        left_s = max(0.0, self._deadline - time.monotonic()) + _ENDING_S
        return min(left_s, threading.TIMEOUT_MAX)


def _out_of_time() -> EngineBusyError:
    return EngineBusyError(
        "out of time, while the engine was in use",
        "Ask again when it is free, or load a second engine.",
    )


class Gathering:
    """When each caller has come, or gone, all that they ask is asked in waves.

    Each question is told when it is settled, and does not wait for the retries of the others.

    callers: how many there are. All of them ask one engine.
    """

    def __init__(self, callers: int) -> None:
        self._missing = callers
        self._asked = dict[WaveQuestion, tuple[Iterable[GuardEvent], Awaited]]()
        self._lock = threading.Lock()

    def come(self, joined: Sequence[tuple[WaveQuestion, Iterable[GuardEvent]]]) -> list[Awaited]:
        """Ask some questions together with those of the others.

        Args:
            joined: each question with its events, see `Guard.question`; none for a caller that
                goes without asking.
        """
        asked = {
            question: (events, Awaited(question.request.deadline)) for question, events in joined
        }
        with self._lock:
            self._asked |= asked
            self._missing -= 1
            is_last = not self._missing
        if is_last and self._asked:
            backend = next(iter(self._asked)).backend
            in_thread_of(backend, self._ask_all).add_done_callback(self._ended)
        return [told for _, told in asked.values()]

    def _ask_all(self) -> None:
        for settled in in_waves(list(self._asked)):
            for question in settled:
                self._tell(question)

    def _tell(self, question: WaveQuestion) -> None:
        events, told = self._asked[question]
        if question.falls_back and question.fallback is not None:
            # In the other engine's thread: here it would keep the others from their retries.
            del self._asked[question]
            telling = in_thread_of(question.fallback, lambda: _tell(events, told))
            telling.add_done_callback(lambda done: _break_off([told], done))
            return
        _tell(events, told)
        del self._asked[question]

    def _ended(self, done: Future[None]) -> None:
        _break_off([told for _, told in self._asked.values()], done)


def _tell(events: Iterable[GuardEvent], told: Awaited) -> None:
    """Read the events, which asks a fallback and writes the log, and hand them over."""
    try:
        told.set_result(list(events))
    except EnergyGuardError as error:
        told.set_exception(error)


def _break_off(waiting: Iterable[Awaited], done: Future[None]) -> None:
    """Tell those who still wait of a mistake that has ended the work."""
    for told in waiting:
        if not told.done():
            told.set_exception(
                done.exception() or EngineError("the wave that this question was in broke off")
            )
