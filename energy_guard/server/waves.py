"""Requests of several clients that an engine answers as one batch.

All of it runs in one event loop, so nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from energy_guard.asynchronous import at_engine
from energy_guard.errors import EnergyGuardError, EngineError
from energy_guard.events import GuardEvent
from energy_guard.guard import Guard
from energy_guard.request import CancelToken, Request
from energy_guard.result import Result
from energy_guard.waves import WaveQuestion, ask_wave, outcome_of


@dataclass
class _ClientQuestion:
    """A question of one client, and what came of it."""

    question: WaveQuestion
    events: Generator[GuardEvent, None, None]
    outcome: Result | EnergyGuardError | None = None


class Wave:
    """Requests whose turn comes at once: when each has asked, or gone, all are asked.

    members: how many requests there are.
    """

    def __init__(self, members: int) -> None:
        self._missing = members
        self._asked: list[_ClientQuestion] = []
        self._complete = asyncio.Event()
        self._work: asyncio.Task[None] | None = None

    async def ask(self, guard: Guard, request: Request) -> Result:
        """Ask together with the others, and return the outcome.

        If the task is cancelled, the engine stops writing this answer within one token, and goes
        on with those of the others.

        Args:
            guard: over the engine of all.
            request: what is asked.

        Raises:
            EnergyGuardError: whatever this request failed of, and not another one.
        """
        cancel = CancelToken(request.cancel)
        with ExitStack() as failing:
            failing.callback(self.leave)  # the others are not to wait for it
            asked = _ClientQuestion(*guard.question(replace(request, cancel=cancel)))
            failing.pop_all()
        self._asked.append(asked)
        self._come()
        try:
            await self._complete.wait()
            if self._work is not None:
                await asyncio.shield(self._work)
        finally:
            cancel.cancel()
        if asked.outcome is None:
            raise EngineError("the wave that this request was in broke off")
        if isinstance(asked.outcome, EnergyGuardError):
            raise asked.outcome
        return asked.outcome

    def leave(self) -> None:
        """Go without asking."""
        self._come()

    def _come(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            if self._asked:
                self._work = asyncio.create_task(self._ask_all())
            self._complete.set()

    async def _ask_all(self) -> None:
        await at_engine(self._asked[0].question.backend, self._ask_in_thread)

    def _ask_in_thread(self) -> None:
        ask_wave([each.question for each in self._asked])
        for each in self._asked:
            each.outcome = outcome_of(each.events)  # which asks a fallback, and writes the log
