"""Tokens of a `llama_cpp.Llama`: their bytes, and whether they end a generation."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from llama_cpp import Llama


class Vocabulary:
    """Remembers what it was asked: a call into llama.cpp costs more than the rest of a token."""

    def __init__(self, pointer: Any) -> None:
        self._pointer = pointer
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}

    def piece(self, token: int) -> bytes:
        """The bytes of a token; a control token has none."""
        if token not in self._pieces:
            self._pieces[token] = self._ask_piece(token)
        return self._pieces[token]

    def is_end(self, token: int) -> bool:
        """Whether the token ends a generation: end of text, of turn, of message."""
        if token not in self._ends:
            from llama_cpp import llama_vocab_is_eog

            self._ends[token] = bool(llama_vocab_is_eog(self._pointer, token))
        return self._ends[token]

    def _ask_piece(self, token: int) -> bytes:
        from llama_cpp import llama_token_to_piece

        size = 64
        while True:
            buffer = bytes(size)
            written = llama_token_to_piece(self._pointer, token, buffer, size, 0, False)
            if written >= 0:
                return buffer[:written]
            size = -written


_known: Final[weakref.WeakKeyDictionary[Llama, Vocabulary]] = weakref.WeakKeyDictionary()


def vocabulary_of(llm: Llama) -> Vocabulary:
    """Return the one vocabulary of this engine object."""
    if llm not in _known:
        _known[llm] = Vocabulary(llm._model.vocab)
    return _known[llm]
