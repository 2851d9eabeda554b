"""The calls of one batch, which come in threads or tasks of their own, and are asked in waves."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig

from energy_guard import Guard, Request
from energy_guard.backends import Backend
from energy_guard.errors import InputError
from energy_guard.events import GuardEvent
from energy_guard.gathering import Awaited, Gathering
from energy_guard.request import CancelToken

Input = TypeVar("Input")
Output = TypeVar("Output")


class _Member:
    """One call, until it has asked or gone.

    It goes without asking if its answer comes from a cache, if it is streamed to somebody, or if it
    fails.
    """

    def __init__(
        self, gathering: Gathering | None, backend: Backend | None, *, in_loop: bool = False
    ) -> None:
        self.in_loop = in_loop
        self._gathering = gathering
        self._backend = backend
        self._lock = threading.Lock()

    def come(self, guard: Guard, request: Request) -> Awaited | None:
        """Ask with the others; None if this call is in no batch of this engine any more."""
        if self._backend is not guard.backend:
            return None
        joined = [guard.question(request)]
        gathering = self._take()
        return None if gathering is None else gathering.come(joined)[0]

    def leave(self) -> None:
        gathering = self._take()
        if gathering is not None:
            gathering.come([])

    def _take(self) -> Gathering | None:
        """Who waits for this call, once: a chain may ask in several threads."""
        with self._lock:
            gathering, self._gathering = self._gathering, None
            return gathering


_NOBODY = _Member(None, None)
_open: ContextVar[tuple[Gathering, Backend] | None] = ContextVar("energy_guard_batch", default=None)
_here: ContextVar[_Member] = ContextVar("energy_guard_member", default=_NOBODY)


class _Members(Runnable[Input, Output]):
    """A model or chain whose calls are members of their batch, whatever its `invoke` does."""

    def __init__(self, called: Runnable[Input, Output]) -> None:
        self._called = called

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        with _member(in_loop=False):
            return self._called.invoke(input, config, **kwargs)

    async def ainvoke(
        self, input: Input, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Output:
        with _member(in_loop=True):
            return await self._called.ainvoke(input, config, **kwargs)


def batched(
    called: Runnable[Input, Output],
    backend: Backend,
    inputs: Sequence[Input],
    configs: Sequence[RunnableConfig],
    *,
    return_exceptions: bool = False,
    **options: Any,
) -> list[Output]:
    """Call a model or chain in parts that its engine answers at once, and return all answers.

    Args:
        called: what to call, in threads.
        backend: the engine that it asks.
        inputs: of the calls.
        configs: one an input; the `max_concurrency` of the first is kept to.
        return_exceptions: whether they stand among the answers; else the first one is raised.
        options: of the calls.

    Raises:
        InputError: if nobody may be asked by `max_concurrency`.
    """
    answers: list[Output] = []
    for part, config in _parts(backend, inputs, configs):
        with _batch(part, backend):
            found = _Members(called).batch(part, config, return_exceptions=True, **options)
        answers += _told(found, return_exceptions)
    return answers


async def abatched(
    called: Runnable[Input, Output],
    backend: Backend,
    inputs: Sequence[Input],
    configs: Sequence[RunnableConfig],
    *,
    return_exceptions: bool = False,
    **options: Any,
) -> list[Output]:
    """Call a model or chain as `batched` does, in tasks."""
    answers: list[Output] = []
    for part, config in _parts(backend, inputs, configs):
        with _batch(part, backend):
            found = await _Members(called).abatch(part, config, return_exceptions=True, **options)
        answers += _told(found, return_exceptions)
    return answers


def _told(found: Sequence[Output], return_exceptions: bool) -> Sequence[Output]:
    """The answers of a part; or the first exception, only now that each call has begun.

    LangChain would not begin the others any more, and those that have would wait for them.
    """
    failed = (each for each in found if isinstance(each, Exception))
    if not return_exceptions and (first := next(failed, None)):
        raise first
    return found


def asked_with_others(guard: Guard, request: Request) -> list[GuardEvent] | None:
    """Ask together with the other members; return all events.

    Returns:
        None if this call is in no batch of this engine, or in a thread of an event loop: it has to
        ask by itself.
    """
    member = _here.get()
    if member.in_loop:
        # In one of the few threads that a loop has for such calls: those of the others may need it.
        member.leave()
        return None
    told = member.come(guard, request)
    return None if told is None else told.in_time()


async def aasked_with_others(guard: Guard, request: Request) -> list[GuardEvent] | None:
    """Ask as `asked_with_others` does; a task that is cancelled stops its own answer alone."""
    cancel = CancelToken(request.cancel)
    told = _here.get().come(guard, replace(request, cancel=cancel))
    if told is None:
        return None
    try:
        return await told.in_time_async()
    finally:
        cancel.cancel()


def _parts(
    backend: Backend, inputs: Sequence[Any], configs: Sequence[RunnableConfig]
) -> Iterator[tuple[list[Any], Any]]:
    """The inputs by parts that are asked at once, with their configs."""
    at_once = backend.at_once
    size = min(at_once, (configs and configs[0].get("max_concurrency")) or at_once)
    if size < 1:
        raise InputError(f"max_concurrency is {size}", "Give a number from 1 on, or leave it out.")
    for start in range(0, len(inputs), size):
        config = [{**each, "max_concurrency": size} for each in configs[start : start + size]]
        yield list(inputs[start : start + size]), config


@contextmanager
def _batch(part: Sequence[Any], backend: Backend) -> Iterator[None]:
    """Let the calls that are made inside be its members, in whatever threads or tasks they are."""
    token = _open.set((Gathering(len(part)), backend) if len(part) > 1 else None)
    try:
        yield
    finally:
        _open.reset(token)


@contextmanager
def _member(*, in_loop: bool) -> Iterator[None]:
    """Be a member of the batch that is open here; calls inside are no further ones."""
    batch = _open.get()
    member = _NOBODY if batch is None else _Member(*batch, in_loop=in_loop)
    tokens = _here.set(member), _open.set(None)
    try:
        yield
    finally:
        _here.reset(tokens[0])
        _open.reset(tokens[1])
        member.leave()
