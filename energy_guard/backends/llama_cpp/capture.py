"""`capture` on the user's own `llama_cpp.Llama`: traces of every call that generates."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any

from energy_guard.backends.attributes import replaced
from energy_guard.backends.llama_cpp.prompt_cache import ReadPrompt, cut_back_for_user
from energy_guard.backends.llama_cpp.tap import RowTap, Written, check_open, context_size
from energy_guard.backends.locks import lock_of
from energy_guard.backends.recorder import Recorder
from energy_guard.errors import EngineError, RowError
from energy_guard.trace import StepHook, Trace

if TYPE_CHECKING:
    from llama_cpp import Llama


class StopToken(int):
    """The end token that `on_step` puts into a generation: no sampler chose it."""


@contextmanager
def capture_llama(
    llm: Llama, on_step: StepHook | None, last_row: bool, wait_s: float
) -> Iterator[list[Trace]]:
    """See `energy_guard.capture`."""
    watch = _Watch(llm, on_step, last_row)
    with (
        lock_of(llm).hold(wait_s, shared=True),
        watch.tap.installed(),
        replaced(llm, "generate", watch.generate),
        replaced(llm, "create_completion", watch.create_completion),
    ):
        try:
            yield watch.traces
        finally:
            watch.over = True


class _Watch:
    """Stands in for two methods of one Llama while a capture lasts."""

    def __init__(self, llm: Llama, on_step: StepHook | None, last_row: bool) -> None:
        self.traces: list[Trace] = []
        self.tap = RowTap(llm, behind=on_step is None)
        self.over = False
        self._llm = llm
        self._on_step = on_step
        self._last_row = last_row
        self._generate = llm.generate
        self._create_completion = llm.create_completion
        self._stop: tuple[str, ...] = ()
        self._max_tokens: int | None = None

    def create_completion(self, *args: Any, **kwargs: Any) -> Any:
        """Note the stop strings and the limit, which `generate` below does not get to see."""
        bound = signature(type(self._llm).create_completion).bind(self._llm, *args, **kwargs)
        bound.apply_defaults()
        stop, max_tokens = bound.arguments["stop"], bound.arguments["max_tokens"]
        limit = max_tokens if max_tokens and max_tokens > 0 else None
        noted = ((stop,) if isinstance(stop, str) else tuple(stop or ()), limit)
        out = self._noting(noted, lambda: self._create_completion(*args, **kwargs))
        if not isinstance(out, Iterator):
            return out

        def stream() -> Iterator[Any]:  # its body, `generate` included, starts at the first next
            first = self._noting(noted, lambda: next(out, None))
            if first is not None:
                yield first
                yield from out

        return stream()

    def _noting(self, noted: tuple[tuple[str, ...], int | None], call: Callable[[], Any]) -> Any:
        self._stop, self._max_tokens = noted
        try:
            return call()
        finally:
            self._stop, self._max_tokens = (), None

    def generate(
        self, tokens: Sequence[int], *args: Any, **kwargs: Any
    ) -> Generator[int, Sequence[int] | None, None]:
        """Pass on what the engine generates, and record it."""
        check_open(self._llm)
        room = context_size(self._llm) - len(tokens)
        limit = min(self._max_tokens or room, room)
        recorder = Recorder(len(self.traces), len(tokens), self._stop)
        written = Written(tokens)
        bound = signature(type(self._llm).generate).bind(self._llm, tokens, *args, **kwargs)
        anew = bound.arguments.get("reset", True) and cut_back_for_user(self._llm, tokens)
        inner = self._generate(tokens, *args, **kwargs)
        with self.tap.writing():
            last_row = self._last_row
            try:
                for token in inner:
                    if not self.over:
                        self.tap.record(token, written, recorder)
                        if anew:  # the row is still that after the prompt
                            ReadPrompt.now(self._llm, tokens).keep(self._llm)
                            anew = False
                        if self._on_step and self._on_step(recorder.last):
                            recorder.reason = "cancelled"
                    if (yield token) is not None:
                        raise EngineError(
                            "capture cannot follow tokens that are sent into generate"
                        )
                    check_open(self._llm)
                    if recorder.reason == "cancelled":
                        yield StopToken(self._llm.token_eos())  # callers end on it as always
                        return
                self.tap.settle(written)
                recorder.reason = "stop"  # the caller's own stopping criteria
            except RowError:
                last_row = False
                raise
            finally:
                inner.close()
                if not self.over:
                    self._finish(recorder, written, limit, last_row=last_row)

    def _finish(self, recorder: Recorder, written: Written, limit: int, *, last_row: bool) -> None:
        """Keep what was recorded; RowError if the last row of all was none."""
        row = None
        try:
            self.tap.settle(written)
            if recorder.reason is None:
                recorder.reason = "length" if len(recorder) >= limit else "closed"
            row = self.tap.take_row(written)
            if row is None and last_row and recorder.wants_last_row:
                row = self.tap.next_row(recorder.last.id, written)
        finally:
            self.traces.append(recorder.trace(row))
