"""The calls that reach an engine while a run holds it: how many are open, and with what changes.

Stands in for the one method of the user's engine that every way of generating goes through;
it is left as it was found.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

from energy_guard.backends.attributes import replaced
from energy_guard.decide import Attempt, Changes


@dataclass(frozen=True)
class CallChanges:
    """What a retry changes in the user's own call.

    attempts: the answers so far, all of them withheld; the feedback is about the last one.
    """

    changes: Changes
    attempts: Sequence[Attempt]

    def sampling(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the settings of llama.cpp in the place of the given ones."""
        new: dict[str, Any] = {}
        if self.changes.temperature is not None:
            new["temperature"] = self.changes.temperature
        if self.changes.fresh_seed:
            seed = self.changes.seed(given.get("seed"), retry=len(self.attempts))
            new["seed"] = secrets.randbits(32) if seed is None else seed
        return given | new

    def generation(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the settings of transformers; its random numbers go on by themselves."""
        if self.changes.temperature is None:
            return given
        return given | {"temperature": self.changes.temperature, "do_sample": True}

    def told(self, messages: list[Any]) -> list[Any]:
        """Return the chat with the last answer and what is wrong with it."""
        turns = self.changes.feedback_turns(self.attempts)
        return [*messages, *({"role": turn.role, "content": turn.content} for turn in turns)]


class EngineCalls:
    """The calls of one run. Whoever waits for the last of them to end blocks nobody."""

    def __init__(self, changes: CallChanges | None) -> None:
        self.open = 0
        self.streams = 0
        self.closed = False
        self._since = time.monotonic()
        self._changes = changes
        self._at_end: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def close(self, then: Callable[[], None]) -> None:
        """Call `then` now, or at the end of the last open call; once, however often this is called.

        Generations that are followed step by step end with their next token.
        """
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._at_end.append(then)
        self._end_if_idle()

    def idle(self) -> Future[None]:
        """Return what is done as soon as no call is open."""
        future: Future[None] = Future()
        with self._lock:
            self._at_end.append(lambda: future.set_result(None))
        self._end_if_idle()
        return future

    @property
    def idle_s(self) -> float:
        """For how long no call has been open, in seconds."""
        return 0.0 if self.open else time.monotonic() - self._since

    @contextmanager
    def standing_in(self, engine: object) -> Iterator[None]:
        """See the calls of a llama_cpp.Llama, or of a transformers (model, tokenizer)."""
        with ExitStack() as stack:
            for owner, name, value in self._places(engine):
                stack.enter_context(replaced(owner, name, value))
            self._since = time.monotonic()
            yield

    def _places(self, engine: Any) -> list[tuple[object, str, object]]:
        if isinstance(engine, tuple):
            model, _tokenizer = engine
            return [(model, "generate", self._generate(model.generate))]
        places: list[tuple[object, str, object]] = [
            (engine, "create_completion", self._completion(engine.create_completion))
        ]
        if self._changes is not None:
            places.append((engine, "create_chat_completion", self._chat(engine)))
        return places

    def _completion(self, before: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(before)
        def create_completion(*args: Any, **kwargs: Any) -> Any:
            if self._changes is not None:
                kwargs = self._changes.sampling(kwargs)
            with self._working():
                out = before(*args, **kwargs)
            return self._stream(out) if isinstance(out, Iterator) else out

        return create_completion

    def _stream(self, out: Iterator[Any]) -> Iterator[Any]:
        with self._working(stream=True):
            try:
                yield from out
            finally:
                close = getattr(out, "close", None)
                if close is not None:
                    close()

    def _chat(self, engine: Any) -> Callable[..., Any]:
        before = engine.create_chat_completion

        @wraps(before)
        def create_chat_completion(messages: list[Any], *args: Any, **kwargs: Any) -> Any:
            told = messages if self._changes is None else self._changes.told(messages)
            return before(told, *args, **kwargs)

        return create_chat_completion

    def _generate(self, before: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(before)
        def generate(*args: Any, **kwargs: Any) -> Any:
            if self._changes is not None:
                kwargs = self._changes.generation(kwargs)
            with self._working():
                return before(*args, **kwargs)

        return generate

    @contextmanager
    def _working(self, stream: bool = False) -> Iterator[None]:
        with self._lock:
            self.open += 1
            self.streams += stream
        try:
            yield
        finally:
            with self._lock:
                self.open -= 1
                self._since = time.monotonic()
                self.streams -= stream
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        with self._lock:
            if self.open:
                return
            ready, self._at_end = self._at_end, []
        for then in ready:  # not under the lock: they look at the calls
            then()
