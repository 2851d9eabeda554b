"""Grammars and JSON schemas for transformers: which tokens may come next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from energy_guard.backends.constraint import Matcher, matcher_of
from energy_guard.errors import InputError
from energy_guard.extras import needs_extra
from energy_guard.request import Grammar, JsonSchema

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


class Constraints:
    """Compiles constraints for one tokenizer; ends: tokens that end an answer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: Iterable[int], size: int) -> None:
        self.ends = sorted(ends)
        self._size = size
        if not self.ends:
            raise InputError(
                "grammars and JSON schemas need a token that ends the answer, and there is none",
                "Set eos_token on the tokenizer.",
            )
        fast: Any = tokenizer  # that it is one is seen below
        with needs_extra("transformers"):
            from llguidance.hf import from_tokenizer
        try:
            self.vocabulary = from_tokenizer(fast, n_vocab=size, eos_token=self.ends)
        except ValueError as error:
            raise InputError(
                f"grammars and JSON schemas cannot be used with this tokenizer: {error}",
                "Use its fast version (AutoTokenizer gives it if there is one), or llama.cpp.",
            ) from error

    def matcher(self, constraint: Grammar | JsonSchema) -> Matcher:
        """Return what follows one answer; InputError if the constraint cannot be used."""
        return matcher_of(self.vocabulary, constraint, self.ends, self._size)


class Constrained:
    """Leaves only the tokens that may come next; a sequence without a matcher keeps all."""

    def __init__(
        self, matchers: Sequence[Matcher | None], ends: Sequence[int], prompt_tokens: int
    ) -> None:
        self._matchers = matchers
        self._ends = frozenset(ends)
        self._prompt_tokens = prompt_tokens

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Take the last token of each sequence in, and forbid what cannot follow."""
        import torch

        begun = ids.shape[1] > self._prompt_tokens
        scores = scores.clone()
        for i, matcher in enumerate(self._matchers):
            if matcher is None:
                continue
            last = int(ids[i, -1])
            # A sequence that has ended is padded until the others of its batch have ended, too.
            if begun and last not in self._ends and matcher.allowed[last]:
                matcher.take(last)
            allowed = torch.from_numpy(matcher.allowed[: scores.shape[1]]).to(scores.device)
            scores[i].masked_fill_(~allowed, float("-inf"))
        return scores
