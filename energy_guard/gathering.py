"""Callers that wait for each other and ask as one: from threads and event loops alike."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait

from energy_guard.asynchronous import in_thread_of
from energy_guard.errors import EnergyGuardError, EngineBusyError, EngineError
from energy_guard.events import GuardEvent
from energy_guard.waves import WaveQuestion, in_waves


class Awaited(Future[list[GuardEvent]]):
    """All events of a question, as soon as it is settled; raises whatever that failed of.

    Whoever waits for it cannot cancel it: the wave goes on all the same.
    """

    def __init__(self, question: WaveQuestion) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        self._question = question

    def in_time(self) -> list[GuardEvent]:
        """Wait for the events, until the question is out of time if it has not begun then.

        Once it has begun, the engine heeds its deadline: no answer that was written is missed,
        however long the others of its wave take.

        Raises:
            EngineBusyError: if an engine is still in use when it is out of time.
            EnergyGuardError: whatever the question failed of.
        """
        if not wait([self], self._left_s()).done and not self._question.begun:
            raise _out_of_time()
        return self.result()

    async def in_time_async(self) -> list[GuardEvent]:
        """Wait as `in_time` does, in an event loop."""
        heard = asyncio.wrap_future(self)
        try:
            done, _ = await asyncio.wait([heard], timeout=self._left_s())
            if not done and not self._question.begun:
                raise _out_of_time()
            return await heard
        finally:
            heard.cancel()  # so that nobody misses the loop if that ends before the wave

    def _left_s(self) -> float | None:
        deadline = self._question.request.deadline
        if deadline is None:
            return None
        return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)


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
        asked = {question: (events, Awaited(question)) for question, events in joined}
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
            question.begun = False
            if not question.request.interrupted:
                # In the other engine's thread: here it would keep the others from their retries.
                del self._asked[question]
                telling = in_thread_of(question.fallback, lambda: _begin(question, events, told))
                telling.add_done_callback(lambda done: _break_off([told], done))
                return
            # It is out of time, so that nothing is written for it any more, wherever it is told.
        _tell(events, told)
        del self._asked[question]

    def _ended(self, done: Future[None]) -> None:
        _break_off([told for _, told in self._asked.values()], done)


def _begin(question: WaveQuestion, events: Iterable[GuardEvent], told: Awaited) -> None:
    question.begun = True
    _tell(events, told)


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
