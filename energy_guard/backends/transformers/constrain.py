"""Grammars and JSON schemas for transformers: which tokens may come next, by llguidance."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from energy_guard.errors import EngineError, InputError
from energy_guard.extras import needs_extra
from energy_guard.request import Grammar, JsonSchema

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

_FORM: Final[Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON as models write it; free blanks would let a weak one write blanks for ever."""


class Constraints:
    """Compiles constraints for one tokenizer; ends: tokens that end an answer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: Iterable[int], size: int) -> None:
        self.ends = sorted(ends)
        fast: Any = tokenizer  # that it is one is seen below
        with needs_extra("transformers"):
            from llguidance.hf import from_tokenizer
        try:
            self._vocabulary = from_tokenizer(fast, n_vocab=size, eos_token=self.ends)
        except ValueError as error:
            raise InputError(
                f"grammars and JSON schemas cannot be used with this tokenizer: {error}",
                "Use its fast version (AutoTokenizer gives it where there is one), or llama.cpp.",
            ) from error

    def matcher(self, constraint: Grammar | JsonSchema) -> Any:
        """Return what follows one answer; InputError for a grammar or schema with a mistake."""
        from llguidance import LLMatcher
        from llguidance.gbnf_to_lark import GbnfToLarkError, gbnf_to_lark

        try:
            if isinstance(constraint, JsonSchema):
                schema = json.dumps(_closed(json.loads(constraint.schema)))
                grammar = LLMatcher.grammar_from_json_schema(schema, defaults=_FORM)
            else:
                _check_rules(constraint.gbnf)
                grammar = LLMatcher.grammar_from_lark(gbnf_to_lark(constraint.gbnf))
            matcher = LLMatcher(self._vocabulary, grammar)
        except (GbnfToLarkError, ValueError, AssertionError) as error:
            raise InputError(f"the grammar or schema cannot be used: {error}") from error
        if matcher.is_error():
            raise InputError(f"the grammar or schema cannot be used: {matcher.get_error()}")
        return matcher


class Constrained:
    """Leaves only the tokens that may come next; a sequence without a matcher keeps all."""

    def __init__(self, matchers: Sequence[Any], ends: Sequence[int], prompt_tokens: int) -> None:
        self._matchers = matchers
        self._ends = list(ends)
        self._prompt_tokens = prompt_tokens

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Take the last token of each sequence in, and forbid what cannot follow."""
        begun = ids.shape[1] > self._prompt_tokens
        scores = scores.clone()
        for i, matcher in enumerate(self._matchers):
            if matcher is None:
                continue
            if begun and not matcher.is_stopped() and not matcher.consume_token(int(ids[i, -1])):
                raise EngineError(f"the constraint was left: {matcher.get_error()}")
            scores[i].masked_fill_(~self._allowed(matcher, scores), float("-inf"))
        return scores

    def _allowed(self, matcher: Any, scores: Tensor) -> Tensor:
        import torch

        if matcher.is_stopped():
            ended = torch.zeros(scores.shape[1], dtype=torch.bool, device=scores.device)
            ended[self._ends] = True
            return ended
        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(bits, bitorder="little")[: scores.shape[1]].astype(bool)
        return torch.from_numpy(mask).to(scores.device)


def _check_rules(gbnf: str) -> None:
    """Raise InputError where a rule is missing: the converter's own error has no type."""
    from llguidance.gbnf_to_lark import GrammarParser, RuleRefNode

    rules: dict[str, Any] = GrammarParser().parse(gbnf)
    open_nodes, named = list(rules.values()), {"root"}
    while open_nodes:
        node = open_nodes.pop()
        open_nodes += node.children()
        if isinstance(node, RuleRefNode):
            named.add(node.name)
    missing = sorted(named - rules.keys())
    if missing:
        raise InputError(f"the grammar has no rule {', '.join(missing)}", "Look for typos.")


def _closed(schema: Any) -> Any:
    """The schema, in which an object has no other properties than those listed, as in llama.cpp.

    One that says itself what others it may have keeps that.
    """
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type", "object") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
