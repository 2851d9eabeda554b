"""Grammars and JSON schemas for transformers: which tokens may come next, by llguidance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from energy_guard.errors import EngineError, InputError
from energy_guard.extras import needs_extra
from energy_guard.request import Grammar, JsonSchema

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

_FORM: Final = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON as models write it; free blanks would let a weak one write blanks for ever."""


class Constraints:
    """Compiles constraints for one tokenizer; ends: tokens that end an answer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: Iterable[int], size: int) -> None:
        with needs_extra("transformers"):
            from llguidance.hf import from_tokenizer
        try:
            self._vocabulary = from_tokenizer(tokenizer, n_vocab=size, eos_token=sorted(ends))
        except ValueError as error:
            raise InputError(
                f"grammars and JSON schemas cannot be used with this tokenizer: {error}",
                "Use its fast version (AutoTokenizer gives it where there is one), or llama.cpp.",
            ) from error

    def matcher(self, constraint: Grammar | JsonSchema) -> Any:
        """Return what follows one answer; InputError for a grammar or schema with a mistake."""
        from llguidance import LLMatcher
        from llguidance.gbnf_to_lark import gbnf_to_lark

        try:
            if isinstance(constraint, JsonSchema):
                grammar = LLMatcher.grammar_from_json_schema(constraint.schema, defaults=_FORM)
            else:
                grammar = LLMatcher.grammar_from_lark(gbnf_to_lark(constraint.gbnf))
            matcher = LLMatcher(self._vocabulary, grammar)
        except (ValueError, AssertionError) as error:
            raise InputError(f"the grammar or schema cannot be used: {error}") from error
        if matcher.is_error():
            raise InputError(f"the grammar or schema cannot be used: {matcher.get_error()}")
        return matcher


class Constrained:
    """Leaves only the tokens that may come next; a sequence without a matcher keeps all."""

    def __init__(self, matchers: Sequence[Any], prompt_tokens: int) -> None:
        self._matchers = matchers
        self._prompt_tokens = prompt_tokens

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Take the last token of each sequence in, and forbid what cannot follow."""
        begun = ids.shape[1] > self._prompt_tokens
        scores = scores.clone()
        for i, matcher in enumerate(self._matchers):
            if matcher is None or matcher.is_stopped():  # ended: what comes after is cut off
                continue
            if begun and not matcher.consume_token(int(ids[i, -1])):
                raise EngineError(f"the constraint was left: {matcher.get_error()}")
            if not matcher.is_stopped():
                allowed = self._allowed(matcher, scores)
                scores[i].masked_fill_(~allowed, float("-inf"))
        return scores

    def _allowed(self, matcher: Any, scores: Tensor) -> Tensor:
        import torch

        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(bits, bitorder="little")[: scores.shape[1]].astype(bool)
        return torch.from_numpy(mask).to(scores.device)
