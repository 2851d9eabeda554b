"""What a server does for a request: it waits for its turn, has it answered, and counts it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from energy_guard.asynchronous import run
from energy_guard.called import with_calls
from energy_guard.errors import EngineError
from energy_guard.events import Done, Retracted, Text
from energy_guard.guard import Guard
from energy_guard.release import Release
from energy_guard.request import CancelToken, Request
from energy_guard.result import Result
from energy_guard.server.alternatives import alternatives
from energy_guard.server.answers import AnswerChoice
from energy_guard.server.asked import Wanted
from energy_guard.server.beginnings import go_on
from energy_guard.server.jobs import ClientJob, Emit
from energy_guard.server.metrics import Metrics
from energy_guard.server.responses import Envelope
from energy_guard.server.settings import ServerSettings
from energy_guard.server.signals import running_signals
from energy_guard.server.waiting import QueuePlace, WaitingLine
from energy_guard.tools import CallsRule
from energy_guard.waves import result_of

T = TypeVar("T")


class Service:
    """A guard that many clients ask."""

    def __init__(self, guard: Guard, settings: ServerSettings) -> None:
        self.guard = guard
        self.settings = settings
        self.info = guard.backend.info  # the first look reads the whole file
        self.name = settings.model or self.info.name
        self.line = WaitingLine(settings.max_waiting, guard.backend.at_once)
        self.metrics = Metrics(lambda: len(self.line))
        self._jobs: set[ClientJob[Any]] = set()

    def envelope(self, wanted: Wanted) -> Envelope:
        """Return what all parts of a response have in common."""
        return Envelope(self.name, self.info.fingerprint, wanted, self.settings.refusal_as_content)

    def answers(self, wanted: Wanted) -> ClientJob[list[AnswerChoice]]:
        """Begin to answer; ApiError if there is no place in the line."""

        async def work(place: QueuePlace) -> list[AnswerChoice]:
            async with self._turn(place, wanted.requests[0]):
                return [choice async for choice in self._choices(wanted, place)]

        return self._job(lambda _, place: work(place), wanted)

    def stream(self, wanted: Wanted) -> ClientJob[None]:
        """Begin to answer in chunks; ApiError if there is no place in the line."""
        envelope = self.envelope(wanted)
        choose = self._held if wanted.stream == "hold" else self._live

        async def work(emit: Emit, place: QueuePlace) -> None:
            async with self._turn(place, wanted.requests[0]):
                choices = await choose(envelope, place, emit)
            if wanted.usage:
                emit(envelope.counted(choices))

        return self._job(work, wanted)

    def score(self, request: Request, answer: str, *, fast: bool = False) -> ClientJob[Result]:
        """Begin to judge an answer that exists; ApiError if there is no place in the line."""

        async def work(place: QueuePlace) -> Result:
            async with self._turn(place, request):
                began = time.monotonic()
                result = await run(
                    self.guard.backend,
                    request,
                    lambda asked: self.guard.score(asked, answer, fast=fast),
                )
                return self._counted(result, began)

        return self._job(lambda _, place: work(place), None)

    def stop(self) -> None:
        """Refuse who comes and who waits; who is served has a while to end."""
        self.line.close()
        loop = asyncio.get_running_loop()
        loop.call_later(self.settings.drain_s, self.cancel)

    def cancel(self) -> None:
        """End all work within one token."""
        for job in self._jobs:
            job.cancel()

    def _job(
        self, work: Callable[[Emit, QueuePlace], Coroutine[Any, Any, T]], wanted: Wanted | None
    ) -> ClientJob[T]:
        alike, answers = (None, 1) if wanted is None else (_alike(wanted), len(wanted.requests))
        place = self.line.join(alike, answers)
        job = ClientJob(lambda emit: work(emit, place), place)
        self._jobs.add(job)
        job.when_done(self._jobs.discard)
        return job

    @asynccontextmanager
    async def _turn(self, place: QueuePlace, request: Request) -> AsyncIterator[None]:
        began = time.monotonic()
        await place.wait(request.deadline or began + self.settings.timeout_s)
        self.metrics.waited(time.monotonic() - began)
        yield

    async def _choices(self, wanted: Wanted, place: QueuePlace) -> AsyncIterator[AnswerChoice]:
        """Yield the answers in order, each as soon as it is there."""
        results = self._singly(wanted) if place.wave is None else self._together(wanted, place)
        async with aclosing(results):
            for request in wanted.requests:
                yield await self._choice(await anext(results), request, wanted)

    async def _singly(self, wanted: Wanted) -> AsyncGenerator[Result, None]:
        guard, beginning = self.guard, wanted.beginning
        # OpenAI's form has no place for a call that is not to be made.
        calling = with_calls(guard, CallsRule(wanted.tools, wanted.forced, every=True))
        for request in wanted.requests:
            began = time.monotonic()
            if beginning:  # such an answer calls no tools
                result = await run(
                    guard.backend, request, lambda asked: go_on(guard, asked, beginning)
                )
            else:
                result = await calling.aask(request)
            yield self._counted(result, began)

    async def _together(self, wanted: Wanted, place: QueuePlace) -> AsyncGenerator[Result, None]:
        """Yield what its wave tells; if nobody listens, the work on these answers alone ends."""
        began, cancel = time.monotonic(), CancelToken()
        requests = [replace(request, cancel=cancel) for request in wanted.requests]
        try:
            for told in place.ask([self.guard.question(request) for request in requests]):
                yield self._counted(result_of(await told.in_time_async()), began)
        finally:
            cancel.cancel()

    def _counted(self, result: Result, began: float) -> Result:
        self.metrics.answered(result, time.monotonic() - began)
        return result

    async def _held(self, envelope: Envelope, place: QueuePlace, emit: Emit) -> list[AnswerChoice]:
        choices: list[AnswerChoice] = []
        async for choice in self._choices(envelope.wanted, place):
            index = len(choices)
            emit(envelope.first(index))
            for part in envelope.pieces(index, choice):
                emit(part)
            for part in envelope.last(index, choice, tokens=False):
                emit(part)
            choices.append(choice)
        return choices

    async def _live(self, envelope: Envelope, _: QueuePlace, emit: Emit) -> list[AnswerChoice]:
        return [
            await self._live_one(index, request, envelope, emit)
            for index, request in enumerate(envelope.wanted.requests)
        ]

    async def _live_one(
        self, index: int, request: Request, envelope: Envelope, emit: Emit
    ) -> AnswerChoice:
        began = time.monotonic()
        begun = False  # nothing is sent before the engine has taken the request
        result: Result | None = None
        guard = self.guard.for_request(request)
        release: Release = "sentence" if envelope.wanted.stream == "sentence" else "token"
        async with aclosing(self.guard.astream(request, release=release)) as events:
            async for event in events:
                if not begun and isinstance(event, Text | Done):
                    begun = True
                    emit(envelope.first(index))
                if isinstance(event, Text):
                    told = None
                    if envelope.wanted.signals:
                        told = running_signals(event, guard.policy, guard.detector)
                    emit(envelope.text(index, event.text, told=told))
                elif isinstance(event, Retracted):
                    emit(envelope.retracted(index, event.attempt))
                elif isinstance(event, Done):
                    result = event.result
        if result is None:
            raise EngineError("the stream ended without a result")
        choice = await self._choice(self._counted(result, began), request, envelope.wanted)
        for part in envelope.last(index, choice, tokens=True):
            emit(part)
        return choice

    async def _choice(self, result: Result, request: Request, wanted: Wanted) -> AnswerChoice:
        # An answer with a beginning was judged as one that exists already.
        judge = self.guard.for_request(request, alone=bool(wanted.beginning)).judge
        choice = AnswerChoice.of(result, wanted, judge.detector)
        if not request.alternatives or not choice.pieces:
            return choice
        backend, trace = self.guard.backend, result.trace
        found = await run(backend, request, lambda asked: alternatives(backend, asked, trace))
        return replace(choice, alternatives=found)


def _alike(wanted: Wanted) -> object:
    """What is equal for requests that can be answered as one batch; None if this one cannot."""
    if wanted.tools or wanted.beginning or wanted.stream not in (None, "hold"):
        return None
    first = wanted.requests[0]
    return replace(first.sampling, seed=None), first.max_tokens
