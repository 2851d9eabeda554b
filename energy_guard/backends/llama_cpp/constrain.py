"""Grammars and JSON schemas for llama.cpp: which tokens may come next.

llama.cpp's own grammars end the process on some inputs, and its schemas leave out keywords
without a word; so the mask is llguidance's. It acts on the sampler's copy of the row.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.constraint import Matcher, matcher_of
from energy_guard.backends.llama_cpp.vocabulary import vocabulary_of
from energy_guard.errors import InputError
from energy_guard.extras import needs_extra
from energy_guard.request import Grammar, JsonSchema

if TYPE_CHECKING:
    from llama_cpp import Llama


class _Constraints:
    """One engine's vocabulary as llguidance reads it; ends: tokens that end an answer."""

    def __init__(self, llm: Llama) -> None:
        with needs_extra("llama-cpp"):
            from llguidance import LLTokenizer, TokenizerWrapper
        known = vocabulary_of(llm)
        self.size = llm.n_vocab()
        self.tokens = [known.piece(token) for token in range(self.size)]
        self.ends = [token for token in range(self.size) if known.is_end(token)]
        if not self.ends:
            raise InputError(
                "grammars and JSON schemas need a token that ends the answer, and the model's "
                "vocabulary has none",
                "Take a model file that names its end token.",
            )
        for token in self.ends:
            self.tokens[token] = b"<end of answer %d>" % token  # by these names nothing is found
        self.special_token_ids = self.ends
        self.eos_token_id = self.ends[0]
        self.bos_token_id = None
        self._llm = weakref.ref(llm)
        self.vocabulary = LLTokenizer(
            TokenizerWrapper(self), n_vocab=self.size, eos_token=self.ends
        )

    def __call__(self, text: bytes) -> list[int]:
        """Encode, as llguidance asks for it."""
        llm = self._llm()
        return [] if llm is None else list(llm.tokenize(text, add_bos=False, special=False))


def matcher_for(llm: Llama, constraint: Grammar | JsonSchema) -> Matcher:
    """Return what follows one answer; InputError if the constraint cannot be used."""
    if llm not in _known:
        _known[llm] = _Constraints(llm)
    made = _known[llm]
    return matcher_of(made.vocabulary, constraint, made.ends, made.size)


_known: Final[weakref.WeakKeyDictionary[Llama, _Constraints]] = weakref.WeakKeyDictionary()
"""Reading a vocabulary of 150,000 tokens takes about a second."""


def masking(matcher: Matcher) -> Any:
    """What leaves of a row only the tokens that the matcher allows now."""

    def mask(_ids: Any, row: Any) -> Any:
        row[~matcher.allowed] = float("-inf")
        return row

    return mask
