"""The rows of a `llama_cpp.Llama`, read where every generation path passes: at `sample`.

llama.cpp's sampler works on a copy of the row, so what lies in the context is the raw row,
whatever penalties, grammar or temperature do to the choice. Nothing here stores rows.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from energy_guard.backends.behind import Behind, has_idle_cores
from energy_guard.backends.llama_cpp.vocabulary import vocabulary_of
from energy_guard.backends.recorder import Recorder
from energy_guard.energy import Row, RowReducer
from energy_guard.errors import EngineError, InputError
from energy_guard.likeliest import likeliest
from energy_guard.request import Event
from energy_guard.trace import Step

if TYPE_CHECKING:
    from llama_cpp import Llama


_ID_BYTES: Final = np.dtype(np.intc).itemsize


class _Seen(NamedTuple):
    """A sampled token, and the tokens of the context that led to it.

    step: with the numbers of its row; None if those are computed behind, from the row's copy.
    """

    token: int
    step: Step | None
    context: bytes


class Written:
    """The tokens of one generation, its prompt first: what it takes to lie in the context.

    Another call on the same engine, of another thread or between two tokens of a stream, puts its
    own tokens there. The rows are then those of a mixture. broken: what is wrong with a token that
    is recorded behind.
    """

    def __init__(self, prompt: Sequence[int]) -> None:
        self.position = 0
        self.broken: Exception | None = None
        self._ids = bytearray(np.array(prompt, dtype=np.intc).tobytes())

    def add(self, token: int, context: bytes) -> None:
        """Take the token that this context led to; EngineError if it is not this one's."""
        if not self.leads_on(context):
            raise overtaken()
        self._ids += np.intc(token).tobytes()
        self.position = len(context) // _ID_BYTES

    def leads_on(self, context: bytes) -> bool:
        """Whether the context ends with all of it."""
        return context.endswith(self._ids)

    def led_to(self, token: int, context: bytes) -> bool:
        """Whether this is its last token, and the context ends with all but that."""
        before, last = self._ids[:-_ID_BYTES], self._ids[-_ID_BYTES:]
        return last == np.intc(token).tobytes() and context.endswith(before)


class RowTap:
    """Reduces the row of each sampled token, and records the tokens that `generate` yields.

    behind: nobody needs a step before the next one, so that it is recorded while the engine
    decodes, if that leaves a core idle. What was wrong with a row is then said one token later.
    """

    def __init__(
        self,
        llm: Llama,
        inverse_temperature: float = 1.0,
        *,
        alternatives: int = 0,
        behind: bool = False,
    ) -> None:
        check_open(llm)
        self._alternatives = alternatives
        self.reducer = RowReducer(llm.n_vocab(), inverse_temperature=inverse_temperature)
        self.vocabulary = vocabulary_of(llm)
        self._llm = llm
        self._seen: _Seen | None = None
        self._behind = Behind() if behind and has_idle_cores(llm.n_threads) else None
        self._copy = np.empty(llm.n_vocab() if self._behind else 0, np.float32)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Read along for a while. Taps on one engine may come and go in any order."""
        taps = _taps.setdefault(self._llm, [])
        if not taps:
            _install(self._llm, taps)
        taps.append(self)
        try:
            yield
        finally:
            taps.remove(self)
            if self._behind:
                self._behind.end()
            if not taps:
                _uninstall(self._llm)

    def writing(self) -> AbstractContextManager[None]:
        """Have what is behind done while an answer is written."""
        return self._behind.running() if self._behind else nullcontext()

    def begin(self) -> None:
        """Let the last token be recorded: the engine decodes the next one."""
        if self._behind:
            self._behind.begin()

    def look(self, row: npt.NDArray[np.float32]) -> Row | None:
        """Take a row before its token is sampled; return its numbers, None if that is done behind.

        Raises:
            RowError: It is none of raw logits.

        """
        if self._behind is None:
            return self.reducer.reduce(row)
        self._behind.settle()
        np.copyto(self._copy, row)
        return None

    def see(
        self, token: int, row: npt.NDArray[np.float32], reduced: Row | None, context: bytes
    ) -> None:
        """Note the token that was sampled from a row; RowError if it has no logit there."""
        step = None if reduced is None else self._step(token, row, reduced)
        self._seen = _Seen(token, step, context)

    def record(self, token: int, written: Written, recorder: Recorder) -> list[Event]:
        """Record the token that `generate` has just yielded, and return its events.

        Behind there are none, and the recorder has the token when the next one was sampled, or
        when the tap is `settle`d.

        Raises:
            EngineError: Another call has used the engine meanwhile.
            RowError: Behind, the row of the token before it was none of raw logits.

        """
        seen, self._seen = self._seen, None
        self.settle(written)
        if seen is None or seen.token != token:
            raise overtaken()
        if self._behind is None:
            return self._add(seen, written, recorder)
        self._behind.owe(partial(self._add_behind, seen, written, recorder))
        return []

    def settle(self, written: Written) -> None:
        """Have all tokens recorded; raises what `record` raises of the last one, once."""
        if self._behind:
            self._behind.settle()
        broken, written.broken = written.broken, None
        if broken is not None:
            raise broken

    def _add_behind(self, seen: _Seen, written: Written, recorder: Recorder) -> None:
        try:
            self._add(seen, written, recorder)
        except Exception as error:  # noqa: BLE001 - whoever settles gets it
            written.broken = error

    def _add(self, seen: _Seen, written: Written, recorder: Recorder) -> list[Event]:
        row = self._copy
        step = seen.step or self._step(seen.token, row, self.reducer.reduce(row))
        written.add(seen.token, seen.context)
        return recorder.add(step, ends=self.vocabulary.is_end(seen.token))

    def _step(self, token: int, row: npt.NDArray[np.float32], reduced: Row) -> Step:
        logit = self.reducer.token_logit(row, token)
        likely = likeliest(row, self._alternatives, self.reducer.inverse_temperature)
        return Step(token, self.vocabulary.piece(token), logit, reduced, likely)

    def take_row(self, written: Written) -> Row | None:
        """Return the row of a token that was sampled and then dropped; RowError if it is none."""
        seen, self._seen = self._seen, None
        if seen is None or not written.leads_on(seen.context):
            return None
        return seen.step.row if seen.step else self.reducer.reduce(self._copy)

    def next_row(self, token: int, written: Written) -> Row | None:
        """Evaluate `token`, the last one taken, and reduce its row: one extra decode.

        The token stays in the context: ids, cache and count agree, and the next prompt's
        prefix match is one token longer. None if the context is full or taken by another call,
        or the engine gone.
        """
        llm, position = self._llm, written.position
        if llm._ctx.ctx is None or position >= context_size(llm):
            return None
        if llm.n_tokens < position or not written.led_to(token, llm.input_ids[:position].tobytes()):
            return None
        llm.n_tokens = position  # a draft model may have run ahead
        try:
            llm.eval([token])
        except RuntimeError:  # llama_decode failed: the row is missing, and marked as that
            llm.reset()
            return None
        return self.reducer.reduce(current_row(llm))


def overtaken() -> EngineError:
    """What is raised where the context holds what another call put there."""
    return EngineError(
        "another call used the engine while this answer was written, so its numbers are mixed",
        "A Llama serves one call at a time: end one before the next, or load a second Llama. "
        "If there was no other, please report this with the version of llama-cpp-python.",
    )


_taps: Final[weakref.WeakKeyDictionary[Llama, list[RowTap]]] = weakref.WeakKeyDictionary()
"""Taps on each engine: all are served by one function in the place of its `sample`, and one in the
place of its `eval`."""

_BEFORE: Final = {"sample": "_sample_before_energy_guard", "eval": "_eval_before_energy_guard"}


def _install(llm: Llama, taps: list[RowTap]) -> None:
    sampled, evaluated = llm.sample, llm.eval
    for name, before in _BEFORE.items():
        if name in vars(llm):  # somebody's own
            vars(llm)[before] = vars(llm)[name]

    def sample(*args: Any, **kwargs: Any) -> int:
        index = kwargs.get("idx")
        position = llm.n_tokens if index is None else index + 1
        try:
            row = current_row(llm, position - llm.n_tokens - 1)
        except ValueError as error:  # the next lines of llama.cpp would read where nothing is
            raise overtaken() from error
        looked = [(tap, tap.look(row)) for tap in [*taps]]
        context = llm.input_ids[:position].tobytes()
        token: int = sampled(*args, **kwargs)
        for tap, reduced in looked:
            tap.see(token, row, reduced, context)
        return token

    def evaluate(*args: Any, **kwargs: Any) -> None:
        for tap in [*taps]:
            tap.begin()
        evaluated(*args, **kwargs)

    vars(llm).update(sample=sample, eval=evaluate)


def _uninstall(llm: Llama) -> None:
    for name, before in _BEFORE.items():
        del vars(llm)[name]
        if before in vars(llm):
            vars(llm)[name] = vars(llm).pop(before)


def check_open(llm: Llama) -> None:
    """Check that calls into llama.cpp find what they need: where not, it would end the process.

    Raises:
        EngineError: the engine was closed.
        InputError: it was opened for something else than writing.
    """
    if llm._model.model is None or llm._ctx.ctx is None:
        raise EngineError("this Llama was closed", "Load the model again.")
    if llm.model_params.vocab_only:
        raise InputError("this Llama has no weights (vocab_only)", "Load it without vocab_only.")
    if llm.context_params.embeddings:
        raise InputError("this Llama computes embeddings (embedding=True), and no logits")


def current_row(llm: Llama, at: int = -1) -> npt.NDArray[np.float32]:
    """The raw row in place, `at` counting from the last evaluated token; valid until the next."""
    first = llm._ctx.get_logits_ith(at).contents  # ValueError if there is no such row
    return _floats_at(ctypes.addressof(first), llm._n_vocab)


@lru_cache(maxsize=64)  # rows come at the same few places, and a view takes longer than its address
def _floats_at(address: int, size: int) -> npt.NDArray[np.float32]:
    row = (ctypes.c_float * size).from_address(address)
    return np.frombuffer(memoryview(row), dtype=np.float32)


def context_size(llm: Llama) -> int:
    """How many tokens the context holds: both the engine's and the wrapper's limit."""
    return min(llm.n_ctx(), len(llm.input_ids))
