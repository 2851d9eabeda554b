"""Grammars and JSON schemas, compiled by llguidance for either engine.

llguidance recurses through what it compiles, and a deep enough chain of rules or references ends
the process. So every constraint is compiled in a child process first, on a small stack.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from energy_guard.errors import EngineError, InputError
from energy_guard.request import Grammar, JsonSchema

_FORM: Final[Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON as models write it; free blanks would let a weak one write blanks for ever."""

_LONGEST: Final = 200_000
"""Characters of a constraint: about two seconds to compile."""

_DEEPEST: Final = 60
"""Brackets of a grammar, or objects and lists of a schema, inside one another."""

_TRIAL_S: Final = 20.0
_REFUSED: Final = 3
"""The trial's exit status when llguidance itself says what is wrong."""

_OWN_FAILURES: Final = (1, 2)
"""Exit statuses of a Python that cannot run the trial at all."""


class Matcher:
    """Follows one answer, and says after each token which may come next.

    allowed: which tokens may come now, shape (vocabulary,).
    """

    def __init__(self, matcher: Any, ends: Iterable[int], size: int) -> None:
        self._matcher = matcher
        self._ends = list(ends)
        self._size = size
        self.allowed = self._next()

    def take(self, token: int) -> None:
        """Go on past a token of the answer; EngineError if the constraint did not allow it."""
        if not self.allowed[token]:
            raise EngineError(f"token {token} was chosen, which the grammar or schema forbids")
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)
        self.allowed = self._next()

    def _next(self) -> npt.NDArray[np.bool_]:
        mask = np.zeros(self._size, dtype=bool)
        if self._matcher.is_stopped():
            mask[self._ends] = True
        else:
            bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
            known = np.unpackbits(bits, bitorder="little")[: self._size]
            mask[: len(known)] = known
        if self._matcher.is_error():
            raise EngineError(
                f"the grammar or schema cannot be followed further: {_said(self._matcher)}",
                "Make it simpler.",
            )
        if not mask.any():
            raise EngineError("no token of the model's vocabulary may follow in this grammar")
        return mask


def matcher_of(
    vocabulary: Any, constraint: Grammar | JsonSchema, ends: Iterable[int], size: int
) -> Matcher:
    """Compile a constraint for one vocabulary.

    Args:
        vocabulary: an `llguidance.LLTokenizer`.
        constraint: what the answer has to follow.
        ends: token ids that end an answer.
        size: how many logits a row has.

    Raises:
        InputError: the constraint has a mistake, uses what llguidance cannot hold, is too large
            or too deeply nested, or allows no answer at all.
    """
    grammar = grammar_of(constraint)
    try:
        return following(vocabulary, grammar, ends, size)
    except EngineError as error:
        raise _unusable(constraint, error.message) from error


def following(vocabulary: Any, grammar: str, ends: Iterable[int], size: int) -> Matcher:
    """Compile what `grammar_of` gave; see `matcher_of`.

    Raises:
        EngineError: llguidance cannot use it, or it allows no answer at all.
    """
    from llguidance import LLMatcher

    matcher = LLMatcher(vocabulary, grammar, log_level=0)
    if matcher.is_error():
        raise EngineError(_said(matcher))
    try:
        return Matcher(matcher, ends, size)
    except EngineError as error:
        raise EngineError(f"it allows no answer ({error.message})") from error


@lru_cache(maxsize=64)
def grammar_of(constraint: Grammar | JsonSchema) -> str:
    """Return the constraint in llguidance's form, after a child process has compiled it.

    Raises:
        InputError: see `matcher_of`.
    """
    text = constraint.schema if isinstance(constraint, JsonSchema) else constraint.gbnf
    if len(text) > _LONGEST:
        raise _unusable(constraint, f"it has {len(text)} characters, more than {_LONGEST}")
    from llguidance import LLMatcher

    if isinstance(constraint, JsonSchema):
        schema = json.dumps(_closed(_read_schema(constraint)))
        try:
            grammar = LLMatcher.grammar_from_json_schema(schema, defaults=_FORM)
        except ValueError as error:  # numbers and texts that Python reads and Rust does not
            raise _unusable(constraint, str(error)) from error
    else:
        grammar = LLMatcher.grammar_from_lark(_lark(constraint))
    # By path, and with -P: neither this package nor the folder beside the file is imported.
    command = [sys.executable, "-P", str(Path(__file__).with_name("constraint_trial.py"))]
    try:
        child = subprocess.run(  # noqa: S603
            command, input=grammar, capture_output=True, text=True, timeout=_TRIAL_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _unusable(constraint, f"compiling it takes longer than {_TRIAL_S:g} s") from error
    if child.returncode == _REFUSED:
        raise _unusable(constraint, child.stdout.strip())
    if child.returncode in _OWN_FAILURES:
        raise EngineError(f"llguidance cannot be run: {child.stderr.strip().splitlines()[-1]}")
    if child.returncode:
        raise _unusable(constraint, "it is too large or too deeply nested to be compiled")
    return grammar


def _unusable(constraint: Grammar | JsonSchema, why: str) -> InputError:
    if isinstance(constraint, JsonSchema):
        return InputError(
            f"the JSON schema cannot be used: {why}",
            "Leave out what cannot be held while the model writes, and check it afterwards.",
        )
    return InputError(
        f"the grammar cannot be used: {why}", "It is GBNF with a rule named root; look for typos."
    )


def _said(matcher: Any) -> str:
    """Llguidance's error on one line; what lies beyond its beginning is a dump of its state."""
    return " ".join(str(matcher.get_error()).split("<state>")[0].split())[:300]


def _read_schema(constraint: JsonSchema) -> dict[str, Any]:
    """The schema as an object: `true` allows all that {} does."""
    try:
        schema = json.loads(constraint.schema)
    except ValueError as error:
        raise _unusable(constraint, f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise _unusable(constraint, "it is too deeply nested") from error
    if schema is True:
        return {}
    if schema is False:
        raise _unusable(constraint, "`false` allows no answer")
    if not isinstance(schema, dict):
        raise _unusable(constraint, "a schema is an object, `true` or `false`")
    level: list[Any] = [schema]
    depth = 0
    while level:
        depth += 1
        if depth > 2 * _DEEPEST:  # `properties` and what it holds are two
            raise _unusable(constraint, "it is too deeply nested")
        held = [part.values() if isinstance(part, dict) else part for part in level]
        level = [item for items in held for item in items if isinstance(item, dict | list)]
    return schema


def _closed(schema: Any) -> Any:
    """The schema, in which an object has no other properties than those listed.

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


def _lark(constraint: Grammar) -> str:
    """GBNF in the syntax that llguidance compiles.

    Its own converter is used up to the tree, for the two languages differ: in GBNF `.` matches
    line ends, a repetition may be repeated, and any name is a rule's. All rules stay rules here.
    The converter makes terminals of some, which read as much as they can, and of two in a row
    llguidance may not find an end.
    """
    from llguidance.gbnf_to_lark import (
        AlternativeNode,
        GbnfToLarkError,
        GrammarParser,
        LiteralNode,
        RegexNode,
        RepetitionNode,
        RuleNode,
        RuleRefNode,
    )

    gbnf = _UNICODE.sub(_character, constraint.gbnf)
    if _depth(gbnf) > _DEEPEST:
        raise _unusable(constraint, f"more than {_DEEPEST} brackets are inside one another")
    try:
        rules = GrammarParser().parse(gbnf)
    except (GbnfToLarkError, IndexError) as error:  # the latter after a last backslash
        raise _unusable(constraint, str(error)) from error
    names = {name: "start" if name == "root" else f"r{i}" for i, name in enumerate(rules)}
    renamed = {names[name]: rule for name, rule in rules.items()}
    missing = {"root"} - names.keys()
    for rule in [*renamed.values()]:
        rule.name, rule.comment = names[rule.name], ""
        for node in _nodes(rule):
            if isinstance(node, RuleRefNode):
                missing |= {node.name} - names.keys()
                node.name = names.get(node.name, "")
            elif isinstance(node, RegexNode) and node.rx == ".":
                node.rx = "(?s:.)"
            elif isinstance(node, RepetitionNode):
                node.node = node.node.simplify() if node.max_times != 0 else LiteralNode("")
                node.max_times = node.max_times if node.max_times != 0 else 1
                if isinstance(node.node, RepetitionNode):
                    name = f"x{len(renamed)}"
                    renamed[name] = RuleNode(name, AlternativeNode([node.node]), "")
                    node.node = RuleRefNode(name)
    if missing:
        raise _unusable(constraint, f"it has no rule {', '.join(sorted(missing))}")
    for rule in renamed.values():
        rule.alternatives = rule.alternatives.simplify()
    return "%llguidance {}\n" + "\n".join(str(rule) for rule in renamed.values())


_UNICODE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|.)", re.DOTALL)


def _character(match: re.Match[str]) -> str:
    """The character that an escape by number stands for, unless it has a meaning of its own."""
    number = match[1] or match[2]
    if number is None or not 0xA0 <= int(number, 16) <= sys.maxunicode:
        return f"\\x{int(number, 16):02x}" if number and int(number, 16) < 0xA0 else match[0]
    return match[0] if 0xD800 <= int(number, 16) < 0xE000 else chr(int(number, 16))


_OUTSIDE: Final = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*', re.DOTALL)


def _depth(gbnf: str) -> int:
    """How many brackets are inside one another, those of literals and comments aside."""
    depth = deepest = 0
    for bracket in re.findall(r"[()]", _OUTSIDE.sub("", gbnf)):
        depth += 1 if bracket == "(" else -1
        deepest = max(deepest, depth)
    return deepest


def _nodes(rule: Any) -> Iterator[Any]:
    """All that a rule consists of; what a caller puts in the place of a node is not walked."""
    open_nodes = list(rule.children())
    while open_nodes:
        node = open_nodes.pop()
        open_nodes += node.children()
        yield node
