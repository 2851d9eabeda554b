"""`capture` on the user's own `llama_cpp.Llama`: traces of every call that generates."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from energy_guard.backends.llama_cpp.tap import RowTap, replaced
from energy_guard.backends.locks import lock_of
from energy_guard.backends.recorder import Recorder
from energy_guard.errors import EngineError
from energy_guard.trace import StepHook, Trace

if TYPE_CHECKING:
    from llama_cpp import Llama


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
        yield watch.traces


class _Watch:
    """Stands in for two methods of one Llama while a capture lasts."""

    def __init__(self, llm: Llama, on_step: StepHook | None, last_row: bool) -> None:
        self.traces: list[Trace] = []
        self.tap = RowTap(llm)
        self._llm = llm
        self._on_step = on_step
        self._last_row = last_row
        self._generate = llm.generate
        self._create_completion = llm.create_completion
        self._stop: tuple[str, ...] = ()
        self._max_tokens: int | None = None

    def create_completion(
        self,
        *args: Any,
        stop: str | list[str] | None = None,
        max_tokens: int | None = 16,
        **kwargs: Any,
    ) -> Any:
        """Note the stop strings, which `generate` below does not get to see."""
        noted = ((stop,) if isinstance(stop, str) else tuple(stop or ()), max_tokens)
        out = self._noting(
            noted, self._create_completion, *args, stop=stop, max_tokens=max_tokens, **kwargs
        )
        if not isinstance(out, Iterator):
            return out

        def stream() -> Iterator[Any]:  # its body, `generate` included, starts at the first next
            first = self._noting(noted, next, out, None)
            if first is not None:
                yield first
                yield from out

        return stream()

    def _noting(
        self, noted: tuple[tuple[str, ...], int | None], call: Any, *args: Any, **kwargs: Any
    ) -> Any:
        self._stop, self._max_tokens = noted
        try:
            return call(*args, **kwargs)
        finally:
            self._stop, self._max_tokens = (), None

    def generate(
        self, tokens: Sequence[int], *args: Any, **kwargs: Any
    ) -> Generator[int, Sequence[int] | None, None]:
        """Pass on what the engine generates, and record it."""
        prompt_tokens, limit = len(tokens), self._max_tokens
        recorder = Recorder(len(self.traces), prompt_tokens, self._stop)
        inner = self._generate(tokens, *args, **kwargs)
        try:
            for token in inner:
                step = self.tap.take(token)
                recorder.add(step, ends=is_end(self._llm, token))
                if self._on_step is not None and self._on_step(step):
                    recorder.reason = "cancelled"
                if (yield token) is not None:
                    raise EngineError("capture cannot follow tokens that are sent into generate")
                if recorder.reason == "cancelled":
                    yield self._llm.token_eos()  # callers end on it as they always do
                    return
            recorder.reason = "stop"  # the caller's own stopping criteria
        finally:
            inner.close()
            if recorder.reason is None:
                reached = limit is not None and 0 < limit <= len(recorder)
                recorder.reason = "length" if reached else "closed"
            self.traces.append(self._finish(recorder))

    def _finish(self, recorder: Recorder) -> Trace:
        row = self.tap.take_row()
        if row is None and self._last_row and recorder.wants_last_row:
            position = recorder.prompt_tokens + len(recorder) - 1
            row = self.tap.next_row(recorder.last_id, position)
        return recorder.trace(row)


def is_end(llm: Llama, token: int) -> bool:
    """Whether the token ends a generation: end of text, of turn, of message."""
    from llama_cpp import llama_vocab_is_eog

    return bool(llama_vocab_is_eog(llm._model.vocab, token))
