"""The calls of one batch, which come in threads or tasks of their own, and are asked in waves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig

from energy_guard import Guard, Request
from energy_guard.backends import Backend
from energy_guard.errors import InputError
from energy_guard.events import GuardEvent
from energy_guard.gathering import Gathering, Told
from energy_guard.request import CancelToken


@dataclass
class _Member:
    """One call, until it has asked or gone.

    It goes without asking if its answer comes from a cache, if it is streamed to somebody, or if it
    fails.
    """

    gathering: Gathering | None
    backend: Backend | None

    def come(self, guard: Guard, request: Request) -> Told | None:
        """Ask with the others; None if this call is in no batch of this engine any more."""
        if self.gathering is None or self.backend is not guard.backend:
            return None
        joined = [guard.question(request)]
        gathering, self.gathering = self.gathering, None
        return gathering.come(joined)[0]

    def leave(self) -> None:
        if self.gathering is not None:
            self.gathering.come([])


_NOBODY = _Member(None, None)
_open: ContextVar[tuple[Gathering, Backend] | None] = ContextVar("energy_guard_batch", default=None)
_here: ContextVar[_Member] = ContextVar("energy_guard_member", default=_NOBODY)


class _Members(Runnable[Any, AIMessage]):
    """A model whose calls are members of the batch that they are in, whatever its `invoke` does."""

    def __init__(self, model: Runnable[Any, AIMessage]) -> None:
        self._model = model

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        with _member():
            return self._model.invoke(input, config, **kwargs)

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        with _member():
            return await self._model.ainvoke(input, config, **kwargs)


def batched(
    model: Runnable[Any, AIMessage],
    backend: Backend,
    inputs: Sequence[Any],
    configs: Sequence[RunnableConfig],
    **options: Any,
) -> list[AIMessage]:
    """Call a model in parts that its engine answers at once, and return all answers.

    Args:
        model: the one to call, in threads.
        backend: its engine.
        inputs: of the model.
        configs: one an input; the `max_concurrency` of the first is kept to.
        options: of `Runnable.batch`, and of the model's calls.

    Raises:
        InputError: if nobody may be asked by `max_concurrency`.
    """
    answers: list[AIMessage] = []
    for part, config in _parts(backend, inputs, configs):
        with _batch(part, backend):
            answers += _Members(model).batch(part, config, **options)
    return answers


async def abatched(
    model: Runnable[Any, AIMessage],
    backend: Backend,
    inputs: Sequence[Any],
    configs: Sequence[RunnableConfig],
    **options: Any,
) -> list[AIMessage]:
    """Call a model as `batched` does, in tasks."""
    answers: list[AIMessage] = []
    for part, config in _parts(backend, inputs, configs):
        with _batch(part, backend):
            answers += await _Members(model).abatch(part, config, **options)
    return answers


def asked_with_others(guard: Guard, request: Request) -> list[GuardEvent] | None:
    """Ask together with the other members; return all events.

    Returns:
        None if this call is in no batch of this engine: it has to ask by itself.
    """
    told = _here.get().come(guard, request)
    return None if told is None else told.result()


async def aasked_with_others(guard: Guard, request: Request) -> list[GuardEvent] | None:
    """Ask as `asked_with_others` does; a task that is cancelled stops its own answer alone."""
    cancel = CancelToken(request.cancel)
    told = _here.get().come(guard, replace(request, cancel=cancel))
    if told is None:
        return None
    try:
        return [*await asyncio.wrap_future(told)]
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
def _member() -> Iterator[None]:
    """Be a member of the batch that is open here; calls inside are no further ones."""
    batch = _open.get()
    member = _NOBODY if batch is None else _Member(*batch)
    tokens = _here.set(member), _open.set(None)
    try:
        yield
    finally:
        _here.reset(tokens[0])
        _open.reset(tokens[1])
        member.leave()
