"""The rows of a `llama_cpp.Llama`, read where every generation path passes: at `sample`.

llama.cpp's sampler works on a copy of the row, so what lies in the context is the raw row,
whatever penalties, grammar or temperature do to the choice. Nothing here stores rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from energy_guard.energy import Floats, Row, RowReducer
from energy_guard.errors import EngineError
from energy_guard.trace import Step

if TYPE_CHECKING:
    from llama_cpp import Llama


@contextmanager
def replaced(engine: object, name: str, value: Callable[..., Any]) -> Iterator[None]:
    """Put `value` in the place of a method of this one object for a while."""
    before = vars(engine).get(name)
    setattr(engine, name, value)
    try:
        yield
    finally:
        if vars(engine).get(name) is not value:
            raise EngineError(
                f"somebody else replaced {name} of this engine and did not put it back",
                "Close streams that were opened inside a capture before the capture ends.",
            )
        if before is None:
            delattr(engine, name)
        else:
            setattr(engine, name, before)


class RowTap:
    """Reduces the row of each sampled token; `take` hands over the step of the last one."""

    def __init__(self, llm: Llama, inverse_temperature: float = 1.0) -> None:
        self._llm = llm
        self._reducer = RowReducer(llm.n_vocab(), inverse_temperature=inverse_temperature)
        self._taken: tuple[int, float, Row] | None = None

    @contextmanager
    def installed(self, forced: Iterator[int] | None = None) -> Iterator[None]:
        """Read along for a while; with `forced` tokens nothing is sampled: they are chosen."""
        original = self._llm.sample

        def sample(*args: Any, **kwargs: Any) -> int:
            idx = kwargs.get("idx")
            row = self._row(-1 if idx is None else idx - self._llm.n_tokens)
            reduced = self._reducer.reduce(row)
            token = original(*args, **kwargs) if forced is None else next(forced)
            self._taken = (token, self._reducer.token_logit(row, token), reduced)
            return token

        with replaced(self._llm, "sample", sample):
            yield

    def take(self, token: int) -> Step:
        """Return the step of the token that `generate` has just yielded."""
        taken, self._taken = self._taken, None
        if taken is None or taken[0] != token:
            raise EngineError(
                f"token {token} came from the engine without passing through its sampler",
                "Please report this with the version of llama-cpp-python.",
            )
        return Step(token, piece(self._llm, token), taken[1], taken[2])

    def take_row(self) -> Row | None:
        """Return the row of a token that was sampled and then dropped by the engine."""
        taken, self._taken = self._taken, None
        return taken[2] if taken else None

    def next_row(self, token: int, position: int) -> Row | None:
        """Evaluate `token` at `position` and reduce its row: one extra decode.

        The token stays in the context: ids, cache and count agree, and the next prompt's
        prefix match is one token longer. None where the context is full or the engine gone.
        """
        llm = self._llm
        if llm._ctx.ctx is None or position >= min(llm.n_ctx(), len(llm.input_ids)):
            return None
        llm.n_tokens = position  # a draft model may have run ahead
        try:
            llm.eval([token])
        except RuntimeError:  # llama_decode failed: the row is missing, and marked as that
            llm.reset()
            return None
        return self._reducer.reduce(self._row(-1))

    def _row(self, at: int) -> Floats:
        pointer = self._llm._ctx.get_logits_ith(at)
        return np.ctypeslib.as_array(pointer, shape=(self._llm.n_vocab(),))


def piece(llm: Llama, token: int) -> bytes:
    """The bytes of one token; a control token has none."""
    from llama_cpp import llama_token_to_piece

    size = 64
    while True:
        buffer = bytes(size)
        written = llama_token_to_piece(llm._model.vocab, token, buffer, size, 0, False)
        if written >= 0:
            return buffer[:written]
        size = -written
