"""Attacked: what a caller may hand over as a rule: JSON schemas, GBNF grammars, regexes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from energy_guard import Guard, load, locate_text
from energy_guard.request import Grammar, JsonSchema

from .case import Case, Kind, Make
from .models import MODEL, prepare
from .mutate import a_place, changed_tree, spoilt_bytes, spoilt_text

_SCHEMAS: Final[list[dict[str, Any]]] = [
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 5, "pattern": "^[A-Z][a-z]+$"},
            "year": {"type": "integer", "minimum": 1900, "maximum": 2030},
            "sure": {"type": "boolean"},
        },
        "required": ["city"],
        "additionalProperties": False,
    },
    {
        "type": "array",
        "items": {"anyOf": [{"enum": ["a", "b", 1, None]}, {"$ref": "#/$defs/pair"}]},
        "minItems": 1,
        "maxItems": 2,
        "$defs": {"pair": {"type": "array", "prefixItems": [{"const": "x"}, {"type": "null"}]}},
    },
    {"oneOf": [{"type": "number", "multipleOf": 5}, {"type": "string", "format": "date"}]},
]
_SCHEMA_PIECES: Final = [
    *(
        '"$ref": "#",',
        '"$ref": "http://a/b",',
        '"type": "strin",',
        '"minLength": -1,',
        "{",
        "}",
        "[",
    ),
    *('"pattern": "(a+)+$",', '"maxLength": 99999999999,', '"minItems": 1000000,', '"enum": [],'),
    *('"pattern": "(?=a)\\\\1",', '"allOf": [{"$ref": "#"}],', '"not": {},', ",", '"', "\\", "\0"),
    *('"const": NaN,', '"minimum": 1e999,', '"maximum": -1e400,', '"multipleOf": 0,', "1" * 5000),
    '"pattern": "' + "(" * 200 + ")" * 200 + '",',
    '"pattern": "(.{1000}){1000}",',
    '"anyOf": [' + "{}," * 2000 + "{}],",
]
_GRAMMARS: Final = [
    'root ::= "yes" | "no"',
    'root ::= city ", " year\ncity ::= [A-Z] [a-z]{2,8}\nyear ::= ("19" | "20") [0-9] [0-9]\n',
    'root ::= item+ # a list\nitem ::= "- " word (" " word)* "\\n"\nword ::= [^ \\n"\\\\\\x41]+',
    'root ::= "(" root? ")" | expr\n'
    'expr ::= term (("+" | "*") term)*\nterm ::= [0-9]+ | "(" expr ")"',
]
_GRAMMAR_PIECES: Final = [
    *("::=", "root ::= root", "|", "(", ")", "[", "]", "*", "+", "?", "{", "}", "{0}", "{2,1}"),
    *("{99999999}", "{1,100000}", '"', "\\", "\\x", "\\u12", "\\U00110000", "\\ud800", "[z-a]"),
    *(
        "[^]",
        "#",
        "\n",
        "\0",
        "é",
        "…",
        "root",
        "nothing",
        ".",
        "a ::= b\nb ::= a\n",
        '""',
        "$",
        "%",
    ),
    "(" * 59,
    "(" * 5000,
    "([a]{9}){9}" * 50,
    "x ::= " + '"a" | ' * 3000 + '"b"\n',
    "%llguidance {}",
    '%regex { "substring_words": "a" }',
    "".join(f"r{i} ::= r{i + 1}\n" for i in range(3000)),
]
_PATTERNS: Final = [
    r"Answer: (.+)",
    r"(?i)\b(?:it is|was) (?P<answer>[\w .-]{2,40}?)[.!]",
    r"(\d{1,3}(?:,\d{3})*)(?:\.\d+)? (?:km|miles)$",
    r"^(?:[^:\n]+:)?\s*([A-Z]\w+(?: [A-Z]\w+)*)",
]
_PATTERN_PIECES: Final = [
    *(
        "(a+)+$",
        "(a|a)*b",
        "(.*)*x",
        "(?:.*a){30}",
        "(?R)",
        "(?1)",
        "(?<=a+)b",
        "(?<n>",
        "\\1",
        "\\9",
    ),
    *(
        "{99999}",
        "{1,2147483648}",
        "(?i",
        "(?P<1>a)",
        "[[:alpha:]]",
        "[a-",
        "\\p{Greek}",
        "\\p{x",
        "$",
    ),
    *(
        "(?e)(?:foo){e<=99}",
        "(?:x{e}){99}",
        "(?b)",
        "(?V1)[a--b]",
        "\\X",
        "\\K",
        "(?>",
        "|",
        "*",
        "+",
    ),
    *(
        "(?(1)a|b)",
        "(?#",
        "\\N{BELL}",
        "\\x",
        "\\u12",
        "\\Q",
        "\\L<words>",
        "(*FAIL)",
        "(?DEFINE)",
        "\0",
    ),
    "(" * 300,
    "(" * 5000 + ")" * 5000,
    "((((a{99}){99}){99}){99})",
    "(?:a?){500}a{500}",
    "(\\w+\\s?)*:",
    "|".join(map(str, range(2000))),
]
_TEXTS: Final = (
    "Answer: it was Paris, 1,234.5 km from here. " + "a" * 60 + "!",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa " * 8,
    "Müller: The Big Apple\nIt is New York.",
)


def open_constraints(folder: Path) -> Make:
    guard = Guard(load(folder / MODEL, n_ctx=256, n_threads=1))

    def ask_json(text: str) -> None:
        result = guard.ask("Where?", constraint=JsonSchema(text), max_tokens=12)
        if result.trace.finish_reason == "eos":
            json.loads(result.answer)

    def ask_grammar(text: str) -> None:
        guard.ask("Where?", constraint=Grammar(text), max_tokens=12)

    def locate(text: str) -> None:
        for answer in _TEXTS:
            locate_text("Where?", answer, locator=f"regex:{text}")

    kinds: list[tuple[str, Callable[[str], None], Callable[[Random], str]]] = [
        ("JSON schema", ask_json, _schema),
        (
            "grammar",
            ask_grammar,
            lambda dice: _text(_GRAMMARS, _GRAMMAR_PIECES, r"[\n \])]|$", dice),
        ),
        ("regex", locate, lambda dice: _text(_PATTERNS, _PATTERN_PIECES, r"[ :)\]]|$", dice)),
    ]

    def make(number: int, dice: Random) -> Case:
        name, act, spoilt = kinds[number % len(kinds)]
        text = spoilt(dice)
        return Case(f"{name}: {text}", lambda: act(text))

    return make


def _schema(dice: Random) -> str:
    tree = dice.choice(_SCHEMAS)
    if dice.random() < 0.5:
        return _text([json.dumps(tree)], _SCHEMA_PIECES, r"\{", dice)
    at = a_place(tree, dice)
    how = dice.choice(
        ["missing", "zero", "minus one", "huge", "text", "list", "object", "null", "NaN"]
    )
    return json.dumps(changed_tree(tree, at, how, dice))


def _text(bases: list[str], pieces: list[str], seams: str, dice: Random) -> str:
    base = dice.choice(bases)
    if dice.random() < 0.1:
        raw = spoilt_bytes(base.encode(), dice.choice(["cut", "byte", "bytes", "no end"]), dice)
        return raw.decode("utf-8", "replace")
    return spoilt_text(base, pieces, seams, dice)


KIND: Final = Kind("JSON schemas, GBNF grammars, regexes", 500, open_constraints, prepare)
