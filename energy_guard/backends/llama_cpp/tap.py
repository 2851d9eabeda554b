"""The rows of a `llama_cpp.Llama`, read where every generation path passes: at `sample`.

llama.cpp's sampler works on a copy of the row, so what lies in the context is the raw row,
whatever penalties, grammar or temperature do to the choice. Nothing here stores rows.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from energy_guard.backends.llama_cpp.vocabulary import vocabulary_of
from energy_guard.energy import Row, RowReducer
from energy_guard.errors import EngineError
from energy_guard.trace import Step

if TYPE_CHECKING:
    from llama_cpp import Llama


class _Seen(NamedTuple):
    """A sampled token: the numbers of its row, and where in the context it would go."""

    token: int
    token_logit: float
    row: Row
    position: int


class RowTap:
    """Reduces the row of each sampled token; `take` hands over the step of the last one."""

    def __init__(self, llm: Llama, inverse_temperature: float = 1.0) -> None:
        self.reducer = RowReducer(llm.n_vocab(), inverse_temperature=inverse_temperature)
        self.vocabulary = vocabulary_of(llm)
        self.seen: _Seen | None = None
        self._llm = llm
        self._position = 0

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
            if not taps:
                _uninstall(self._llm)

    def take(self, token: int) -> Step:
        """Return the step of the token that `generate` has just yielded."""
        seen, self.seen = self.seen, None
        if seen is None or seen.token != token:
            raise EngineError(
                f"token {token} came from the engine without passing through its sampler",
                "Please report this with the version of llama-cpp-python.",
            )
        self._position = seen.position
        return Step(token, self.vocabulary.piece(token), seen.token_logit, seen.row)

    def take_row(self) -> Row | None:
        """Return the row of a token that was sampled and then dropped by the engine."""
        seen, self.seen = self.seen, None
        return seen.row if seen else None

    def next_row(self, token: int) -> Row | None:
        """Evaluate `token`, the last one taken, and reduce its row: one extra decode.

        The token stays in the context: ids, cache and count agree, and the next prompt's
        prefix match is one token longer. None where the context is full or the engine gone.
        """
        llm = self._llm
        if llm._ctx.ctx is None or self._position >= context_size(llm):
            return None
        llm.n_tokens = self._position  # a draft model may have run ahead
        try:
            llm.eval([token])
        except RuntimeError:  # llama_decode failed: the row is missing, and marked as that
            llm.reset()
            return None
        return self.reducer.reduce(current_row(llm))


_taps: Final[weakref.WeakKeyDictionary[Llama, list[RowTap]]] = weakref.WeakKeyDictionary()
"""Taps on each engine: all are served by one function in the place of its `sample`."""

_BEFORE: Final = "_sample_before_energy_guard"


def _install(llm: Llama, taps: list[RowTap]) -> None:
    original = llm.sample
    if "sample" in vars(llm):  # somebody's own
        vars(llm)[_BEFORE] = original

    def sample(*args: Any, **kwargs: Any) -> int:
        index = kwargs.get("idx")
        position = llm.n_tokens if index is None else index + 1
        row = current_row(llm, position - llm.n_tokens - 1)
        reduced = [(tap, tap.reducer.reduce(row)) for tap in taps]
        token: int = original(*args, **kwargs)
        for tap, numbers in reduced:
            tap.seen = _Seen(token, tap.reducer.token_logit(row, token), numbers, position)
        return token

    vars(llm)["sample"] = sample


def _uninstall(llm: Llama) -> None:
    del vars(llm)["sample"]
    if _BEFORE in vars(llm):
        vars(llm)["sample"] = vars(llm).pop(_BEFORE)


def current_row(llm: Llama, at: int = -1) -> npt.NDArray[np.float32]:
    """The raw row in place, `at` counting from the last evaluated token; valid until the next."""
    first = llm._ctx.get_logits_ith(at).contents  # ValueError where there is no such row
    row = (ctypes.c_float * llm._n_vocab).from_address(ctypes.addressof(first))
    return np.frombuffer(memoryview(row), dtype=np.float32)


def context_size(llm: Llama) -> int:
    """How many tokens the context holds: both the engine's and the wrapper's limit."""
    return min(llm.n_ctx(), len(llm.input_ids))
