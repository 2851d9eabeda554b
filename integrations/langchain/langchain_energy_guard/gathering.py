"""The calls of one batch, which come in threads of their own, and are asked in one wave."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig

from energy_guard import Guard, Request
from energy_guard.backends import Backend
from energy_guard.errors import InputError
from energy_guard.events import GuardEvent
from energy_guard.waves import WaveQuestion, ask_wave

Input = TypeVar("Input")
Output = TypeVar("Output")


class Gathering:
    """Calls that wait for each other: when each has asked, or gone, the questions are asked.

    members: how many calls there are. One goes without asking if its answer comes from a cache, if
    it is streamed to somebody, or if it fails. backend: the engine of all.
    """

    def __init__(self, members: int, backend: Backend) -> None:
        self.backend = backend
        self._missing = members
        self._questions: list[WaveQuestion] = []
        self._lock = threading.Lock()
        self._asked = threading.Event()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Let the calls that are made inside be its members, in whatever threads they are."""
        token = _open.set(self)
        try:
            yield
        finally:
            _open.reset(token)

    def come(self, question: WaveQuestion | None) -> None:
        """Note what a member asks, or that it asks nothing; the last one asks for all."""
        with self._lock:
            self._missing -= 1
            if question is not None:
                self._questions.append(question)
            is_last = not self._missing
        if is_last:
            try:
                ask_wave(self._questions)
            finally:
                self._asked.set()
        elif question is not None:
            self._asked.wait()


class _Member:
    """One call, until it has asked or gone."""

    def __init__(self, gathering: Gathering | None) -> None:
        self._gathering = gathering
        self._lock = threading.Lock()

    def leave(self, backend: Backend | None = None) -> Gathering | None:
        """Return who waits for this call, once: from then on it asks by itself.

        A chain may ask in several threads; backend: the engine that is asked, if any is.
        """
        with self._lock:
            gathering = self._gathering
            if gathering is None or (backend is not None and backend is not gathering.backend):
                return None
            self._gathering = None
            return gathering


_open: ContextVar[Gathering | None] = ContextVar("energy_guard_gathering", default=None)
_here: ContextVar[_Member | None] = ContextVar("energy_guard_member", default=None)


class _Members(Runnable[Input, Output]):
    """A model or chain whose calls are members of their batch, whatever its `invoke` does."""

    def __init__(self, called: Runnable[Input, Output]) -> None:
        self._called = called

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        member = _Member(_open.get())
        tokens = _here.set(member), _open.set(None)  # calls inside are no further members
        try:
            return self._called.invoke(input, config, **kwargs)
        finally:
            _here.reset(tokens[0])
            _open.reset(tokens[1])
            if gathering := member.leave():
                gathering.come(None)


def in_waves(
    called: Runnable[Input, Output],
    backend: Backend,
    inputs: Sequence[Input],
    configs: Sequence[RunnableConfig],
    **options: Any,
) -> list[Output]:
    """Call a model or chain in parts that its engine answers at once, and return all answers.

    Args:
        called: what to call, in threads.
        backend: the engine that it asks.
        inputs: of the calls.
        configs: one an input; the `max_concurrency` of the first is kept to.
        options: of `Runnable.batch`, and of the calls.

    Raises:
        InputError: if nobody may be asked by `max_concurrency`.
    """
    at_once = backend.at_once
    size = min(at_once, (configs and configs[0].get("max_concurrency")) or at_once)
    if size < 1:
        raise InputError(f"max_concurrency is {size}", "Give a number from 1 on, or leave it out.")
    members = _Members(called)
    answers: list[Output] = []
    for start in range(0, len(inputs), size):
        part: Any = [{**each, "max_concurrency": size} for each in configs[start : start + size]]
        with Gathering(len(part), backend).open() if size > 1 else nullcontext():
            answers += members.batch(list(inputs[start : start + size]), part, **options)
    return answers


def asked_with_others(guard: Guard, request: Request) -> Generator[GuardEvent, None, None] | None:
    """Ask together with the other members; return the events, which are all there at once.

    Returns:
        None if this call is in no batch of this engine: it has to ask by itself.
    """
    member = _here.get()
    gathering = member.leave(guard.backend) if member else None
    if gathering is None:
        return None
    question = None
    try:
        question, events = guard.question(request)
    finally:
        gathering.come(question)
    return events
