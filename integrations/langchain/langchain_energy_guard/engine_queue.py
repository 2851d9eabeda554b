"""Whose turn it is on an engine: runs of a user's own model wait for each other here.

LangChain says when a run starts and ends, not what happens between. So a run holds the engine
from one to the other: its rows are captured, and what it asks can be changed. Runs that never
come to an end (cancelled, or another handler raised) lose the engine, see `EngineQueue.ready`.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Final
from uuid import UUID

from energy_guard import Trace, capture
from energy_guard.errors import ConfigError, EngineBusyError
from energy_guard.trace import Step
from langchain_energy_guard.engine_calls import CallChanges, EngineCalls

_LOOK_AGAIN_S: Final = 0.02
"""Of a thread that is gone, and of a Guard that has done, nobody tells: that is looked for."""

_LOST_S: Final = 10.0
"""A run whose owner is not known is taken to be lost when it has done nothing for so long."""

Owner = threading.Thread | asyncio.Task[object]


def running_here() -> Owner:
    """Who is running here: a task if there is an event loop, else a thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return task or threading.current_thread()


class EngineLease:
    """One run's time on an engine. `traces` has what was generated, also afterwards.

    on_step: sees each step and may end the generation; None if the engine cannot be followed
    step by step. owner: who runs, None if LangChain starts runs in passing tasks.
    """

    def __init__(
        self,
        run_id: UUID,
        engine: object,
        on_step: Callable[[Step], bool] | None,
        changes: CallChanges | None,
        owner: Owner | None,
    ) -> None:
        self.run_id = run_id
        self.owner = owner
        self.traces: list[Trace] = []
        self.held = False
        self.calls = EngineCalls(changes)
        self.turn: Future[None] = Future()
        self._engine = engine
        self._on_step = on_step
        self._open = ExitStack()
        self._queue = _queue_of(engine)

    def wait(self, wait_s: float) -> None:
        """Take the engine. Raises EngineBusyError after `wait_s` seconds, or at once if an
        event loop would have to wait.
        """
        until = time.monotonic() + wait_s
        with self._queue.queued(self):
            in_loop = isinstance(running_here(), asyncio.Task)
            while not self._queue.ready(self):
                _check(until, in_loop)
                futures.wait([self.turn], _LOOK_AGAIN_S)
            self._enter(0.0 if in_loop else max(0.0, until - time.monotonic()))

    async def wait_async(self, wait_s: float, cancelled: Callable[[], None]) -> None:
        """Take the engine; other tasks go on meanwhile.

        cancelled: called when the run is cancelled later on, of which LangChain says nothing.
        """
        until = time.monotonic() + wait_s
        turn = asyncio.wrap_future(self.turn)
        with self._queue.queued(self):
            while not self._queue.ready(self):
                _check(until)
                await asyncio.wait([turn], timeout=_LOOK_AGAIN_S)
            while not self._entered():
                _check(until)
                await asyncio.sleep(_LOOK_AGAIN_S)
        if isinstance(self.owner, asyncio.Task):
            self.owner.add_done_callback(lambda task: self._owner_left(task, cancelled))

    def release(self) -> None:
        """Give the engine back: at once, or when what it is doing has ended, which is soon."""
        self.calls.close(self._leave)

    @property
    def working(self) -> bool:
        """Whether the engine works for this run, or a stream on it is open."""
        return self.calls.open > 0

    @property
    def streaming(self) -> bool:
        """Whether somebody reads what comes; transformers stream from a thread of their own."""
        return self.calls.streams > 0 or (self.working and isinstance(self.owner, threading.Thread))

    @property
    def lost(self) -> bool:
        """Whether nobody will bring this run to its end; open streams are closed by somebody."""
        if self.calls.streams:
            return False
        if self.owner is None:
            return self.calls.idle_s > _LOST_S
        by = self.owner
        return by.done() if isinstance(by, asyncio.Task) else not by.is_alive()

    def _owner_left(self, task: asyncio.Task[object], cancelled: Callable[[], None]) -> None:
        if task.cancelled():
            self.release()
            cancelled()
        elif not self.calls.streams:  # the chunks of a stream are fetched by a task each
            self.release()

    def _entered(self) -> bool:
        try:
            self._enter(0.0)
        except EngineBusyError:  # a Guard has it
            return False
        return True

    def _enter(self, wait_s: float) -> None:
        step = None if self._on_step is None else self._step
        traces = self._open.enter_context(capture(self._engine, step, wait_s=wait_s))
        self._open.enter_context(self.calls.standing_in(self._engine))
        self.traces = traces
        self.held = True

    def _step(self, step: Step) -> bool:
        return self.calls.closed or (self._on_step is not None and self._on_step(step))

    def _leave(self) -> None:
        self._open.close()
        self._queue.leave(self)


class EngineQueue:
    """The runs that lease or want one engine, in order; the first one holds it."""

    def __init__(self) -> None:
        self._runs: deque[EngineLease] = deque()
        self._lock = threading.Lock()

    @contextmanager
    def queued(self, lease: EngineLease) -> Iterator[None]:
        """Stand in the queue; out of it if the engine is not to be had."""
        with self._lock:
            if any(other.run_id == lease.run_id for other in self._runs):
                raise ConfigError(
                    "two handlers watch the same run",
                    "Give the handler once: to the model, the chain, or `guarded`.",
                )
            self._runs.append(lease)
            if lease is self._runs[0]:
                lease.turn.set_result(None)
        with ExitStack() as failing:
            failing.callback(lease.release)
            yield
            failing.pop_all()

    def ready(self, lease: EngineLease) -> bool:
        """Whether it is this run's turn.

        Takes the engine from a run before that is lost: nobody is there any more, or who is
        there has gone on to this run.
        """
        first = self._first()
        if first is lease:
            return True
        if first.calls.closed or not first.held:  # ends with its next token; waits for a Guard
            return False
        mine = first.owner is not None and first.owner is lease.owner
        if mine and first.streaming:
            raise EngineBusyError(
                "a stream of this model is still open here",
                "Read it to its end or close it before you ask the same model again.",
            )
        if mine or first.lost:
            first.release()
        return self._first() is lease

    def leave(self, lease: EngineLease) -> None:
        """Let the next one in."""
        with self._lock:
            was_first = lease is self._runs[0]
            self._runs.remove(lease)
            follows = self._runs[0] if was_first and self._runs else None
        if follows is not None:
            follows.turn.set_result(None)

    def _first(self) -> EngineLease:
        with self._lock:
            return self._runs[0]


def _check(until: float, in_loop: bool = False) -> None:
    if in_loop:
        raise EngineBusyError(
            "the engine is in use, and waiting here would stop the event loop",
            "Use AsyncEnergyGuardCallbackHandler for ainvoke, astream and abatch: it queues them.",
        )
    if time.monotonic() >= until:
        raise EngineBusyError(
            "the engine stayed in use for too long",
            "Wait for the other call, give a longer wait_s, or load a second engine.",
        )


_queues: Final[weakref.WeakKeyDictionary[object, EngineQueue]] = weakref.WeakKeyDictionary()
_registry: Final = threading.Lock()


def _queue_of(engine: object) -> EngineQueue:
    key = engine[0] if isinstance(engine, tuple) else engine
    with _registry:
        return _queues.setdefault(key, EngineQueue())
