"""Grammars and JSON schemas on both engines: what is held, and what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tiny_models import byte_tokenizer, tiny_model

from energy_guard import Guard, load
from energy_guard.backends.constraint import matcher_of
from energy_guard.backends.llama_cpp.constrain import matcher_for
from energy_guard.errors import EngineError, InputError
from energy_guard.request import Grammar, JsonSchema, Request, Sampling
from energy_guard.result import Result

LINKED = 3000
"""Rules or definitions in a row: enough to end the process that compiles them."""


@pytest.fixture(scope="module", params=["llama-cpp", "transformers"])
def guard(request: pytest.FixtureRequest, tiny_path: Path) -> Any:
    if request.param == "llama-cpp":
        backend = load(tiny_path, n_ctx=512, n_threads=1)
        yield Guard(backend, profile=None)
        backend.engine.close()
    else:
        yield Guard(load((tiny_model(), byte_tokenizer())), profile=None)


def ask(guard: Any, constraint: Grammar | JsonSchema, seed: int = 0, **settings: Any) -> Result:
    sampling = Sampling(temperature=1.5, seed=seed, **settings)
    request = Request.raw("x", constraint=constraint, sampling=sampling, max_tokens=60)
    return guard.ask(request)


def of(schema: Any) -> JsonSchema:
    return JsonSchema(json.dumps(schema))


@pytest.mark.parametrize("seed", range(5))
def test_minimum_and_maximum_are_held(guard: Any, seed: int) -> None:
    answer = ask(guard, of({"type": "integer", "minimum": 0, "maximum": 1}), seed).answer
    assert answer in ("0", "1")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("settings", [{"typical_p": 0.5, "top_k": 0}, {"repeat_penalty": 2.0}])
def test_samplers_draw_only_what_the_schema_leaves(
    guard: Any, seed: int, settings: dict[str, Any]
) -> None:
    assert ask(guard, of({"enum": ["red", "blue"]}), seed, **settings).answer in ('"red"', '"blue"')


@pytest.mark.parametrize("mode", [1, 2])
def test_mirostat_draws_only_what_the_schema_leaves(tiny_path: Path, mode: int) -> None:
    guard = Guard(load(tiny_path, n_ctx=256, n_threads=1), profile=None)
    for seed in range(3):
        answer = ask(guard, of({"enum": ["red", "blue"]}), seed, mirostat_mode=mode).answer
        assert answer in ('"red"', '"blue"')


def test_a_bias_allows_nothing_that_the_schema_forbids(guard: Any) -> None:
    result = ask(guard, of({"enum": ["red", "blue"]}), logit_bias={ord("q"): 1e4})
    assert result.answer in ('"red"', '"blue"')


def test_a_pattern_without_anchors_may_stand_anywhere(guard: Any) -> None:
    answer = ask(guard, of({"type": "string", "pattern": "[0-9]z", "maxLength": 6})).answer
    assert "z" in json.loads(answer)


def test_a_reference_into_a_list_is_followed(guard: Any) -> None:
    schema = {"$ref": "#/anyOf/1", "anyOf": [{"type": "null"}, {"const": 7}]}
    assert ask(guard, of(schema)).answer == "7"


def test_true_as_a_schema_allows_any_json(guard: Any) -> None:
    result = ask(guard, JsonSchema("true"))
    assert result.trace.finish_reason == "length" or json.loads(result.answer) is not ...


def test_a_long_text_may_be_allowed(guard: Any) -> None:
    assert ask(guard, of({"type": "string", "maxLength": 20_000})).answer.startswith('"')


CHAIN = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(LINKED)}
BAD_SCHEMAS = {
    "refers to nothing": of({"$ref": "#/nope"}),
    "refers to itself only": of({"$ref": "#"}),
    "refers to itself in a circle": of(
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    ),
    "all of itself": of({"allOf": [{"$ref": "#"}, {"type": "object"}]}),
    "fetched from elsewhere": of({"$ref": "http://example.com/schema"}),
    "a list": JsonSchema("[]"),
    "false": JsonSchema("false"),
    "a number": JsonSchema("3"),
    "an unknown type": of({"type": "nope"}),
    "cut off": JsonSchema('{"type": "obj'),
    "brackets only": JsonSchema("[" * 100_000),
    "deeply nested": JsonSchema('{"items":' * 500 + "{}" + "}" * 500),
    "a long chain of references": of(
        {"$ref": "#/$defs/d0", "$defs": CHAIN | {f"d{LINKED}": {"type": "integer"}}}
    ),
    "too many properties": of({"properties": {f"p{i}": {} for i in range(9000)}}),
    "too long": of({"enum": ["x" * 300_000]}),
    "values that have to differ": of({"type": "array", "uniqueItems": True}),
    "something that it must not be": of({"not": {"type": "integer"}}),
    "conditions": of({"if": {"type": "integer"}, "then": {"minimum": 3}}),
    "a pattern that looks ahead": of({"type": "string", "pattern": "a(?!b)"}),
    "a pattern that is none": of({"type": "string", "pattern": "["}),
    "a minimum above the maximum": of({"type": "integer", "minimum": 3, "maximum": 1}),
    "a limit that is no number": of({"type": "integer", "minimum": "3"}),
    "half a character": JsonSchema('{"enum": ["\\ud800"]}'),
    "an infinite number": JsonSchema('{"const": 1e400}'),
    "nothing to choose from": of({"enum": []}),
}


@pytest.mark.parametrize("what", BAD_SCHEMAS)
def test_a_schema_that_cannot_be_held_is_refused(guard: Any, what: str) -> None:
    with pytest.raises(InputError, match="JSON schema cannot be used") as caught:
        ask(guard, BAD_SCHEMAS[what])
    assert "GBNF" not in str(caught.value), "whoever gave a schema wrote no grammar"


def linked(link: str) -> Grammar:
    rules = (f"r{i} ::= " + link.format(i + 1) for i in range(LINKED))
    return Grammar("root ::= r0\n" + "\n".join(rules) + f'\nr{LINKED} ::= "x"')


BAD_GRAMMARS = {
    "brackets": Grammar("root ::= " + "(" * 20_000 + '"x"' + ")" * 20_000),
    "a long chain of rules": linked("r{}"),
    "a long chain of rules with alternatives": linked('r{} | root "y"'),
    "rules that double": linked("r{0} r{0}"),
    "itself only": Grammar("root ::= root"),
    "a missing rule": Grammar("root ::= nowhere"),
    "no root": Grammar('start ::= "a"'),
    "an open text": Grammar('root ::= "open'),
    "an open class": Grammar("root ::= [a"),
    "an open bracket": Grammar('root ::= ("a"'),
    "a last backslash": Grammar('root ::= "a\\'),
    "an endless repetition": Grammar('root ::= "a"{99999999999}'),
    "a class backwards": Grammar("root ::= [z-a]"),
    "too long": Grammar('root ::= "' + "a" * 300_000 + '"'),
}


@pytest.mark.parametrize("gbnf", ["", " \n"])
def test_a_grammar_of_nothing_cannot_be_made(gbnf: str) -> None:
    with pytest.raises(InputError, match="gbnf"):
        Grammar(gbnf)


@pytest.mark.parametrize("what", BAD_GRAMMARS)
def test_a_grammar_that_cannot_be_compiled_is_refused(guard: Any, what: str) -> None:
    with pytest.raises(InputError, match="grammar cannot be used"):
        ask(guard, BAD_GRAMMARS[what])


@pytest.mark.parametrize(
    ("gbnf", "answers"),
    [
        ('root ::= ("ab"+){2}', None),
        ('root ::= two two\ntwo ::= "ab"+', None),
        (
            'root ::= one-two one_two start\none-two ::= "1"\none_two ::= "2"\nstart ::= "3"',
            ["123"],
        ),
        ('root ::= "\\x41\\u00e9\\U0001F600" [\\x5d]', ["Aé😀]"]),
        ('root ::= "\\"" "\\\\" "/" [/] "//"', ['"\\////']),
        ('# a remark (((\nroot ::= "a" # another\n', ["a"]),
        ('root ::= "((((" [(] ", " [^a-z(]{0}', ["(((((, "]),
        ('root ::= "yes" | "no" |\n  "perhaps"', ["yes", "no", "perhaps"]),
    ],
)
def test_an_answer_follows_gbnf(guard: Any, gbnf: str, answers: list[str] | None) -> None:
    answer = ask(guard, Grammar(gbnf)).answer
    assert answer in answers if answers else set(answer) == {"a", "b"}


def test_any_character_includes_the_end_of_a_line(guard: Any) -> None:
    grammar = Grammar("root ::= . .")
    newline = Sampling(logit_bias={ord("\n"): 1e4})
    request = Request.raw("x", constraint=grammar, sampling=newline, max_tokens=9)
    assert guard.ask(request).answer == "\n\n"


def test_compiling_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def forever(*_args: Any, timeout: float, **_options: Any) -> Any:
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(subprocess, "run", forever)
    with pytest.raises(InputError, match="takes longer than 20 s"):
        matcher_of(None, Grammar('root ::= "given up"'), [0], 1)


def test_a_python_that_cannot_run_the_trial_is_not_the_grammars_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = subprocess.CompletedProcess([], 1, "", "Traceback …\nImportError: broken")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: broken)
    with pytest.raises(EngineError, match="ImportError: broken"):
        matcher_of(None, Grammar('root ::= "not tried"'), [0], 1)


def test_a_token_that_the_grammar_forbids_is_an_error(tiny_path: Path) -> None:
    llm = load(tiny_path, n_ctx=64).engine
    matcher = matcher_for(llm, Grammar('root ::= "ab"'))
    matcher.take(ord("a"))
    with pytest.raises(EngineError, match="forbids"):
        matcher.take(ord("a"))
