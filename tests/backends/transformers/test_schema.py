"""Answers that follow a JSON schema, on models that know nothing of JSON."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from tiny_models import byte_tokenizer, tiny_model
from torch_reference import assert_teacher_forced

from energy_guard import Guard, load
from energy_guard.backends import Backend
from energy_guard.errors import InputError
from energy_guard.request import Finished, Grammar, JsonSchema, Request, Sampling

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Paris", "Rome", "Bern"]},
        "sure": {"type": "boolean"},
        "year": {"type": "integer", "minimum": 1000, "maximum": 9999},
    },
    "required": ["city", "sure", "year"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def backend() -> Backend:
    return load((tiny_model(), byte_tokenizer()))


def follows(text: str) -> bool:
    found = json.loads(text)
    named = found["city"] in ("Paris", "Rome", "Bern") and isinstance(found["sure"], bool)
    return named and 1000 <= found["year"] <= 9999 and len(found) == 3


def asked(**more: Any) -> Request:
    return Request.raw("x", constraint=JsonSchema(json.dumps(SCHEMA)), max_tokens=80, **more)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_answer_follows_the_schema(backend: Any, seed: int | None) -> None:
    sampling = Sampling() if seed is None else Sampling(temperature=1.5, seed=seed)
    result = Guard(backend, profile=None).ask(asked(sampling=sampling))
    assert follows(result.answer), result.answer
    assert result.trace.finish_reason == "eos"


def test_the_rows_are_those_before_the_schema(backend: Any) -> None:
    (*_, last) = backend.generate([asked()])
    assert isinstance(last, Finished)
    assert_teacher_forced(backend.engine, [ord("x")], last.trace)
    assert (last.trace.nll > 0.5).any(), "the raw rows, not those that the schema leaves"


def test_each_of_a_batch_has_its_own(backend: Any) -> None:
    other = JsonSchema('{"type": "array", "items": {"enum": [7]}, "minItems": 2, "maxItems": 2}')
    requests = [
        asked(),
        Request.raw("y", max_tokens=9),
        Request.raw("longer", constraint=other, max_tokens=30),
    ]
    texts = [""] * 3
    for event in backend.generate(requests):
        if isinstance(event, Finished):
            texts[event.sequence] = event.trace.text
    assert follows(texts[0])
    assert json.loads(texts[2]) == [7, 7]
    alone = next(e for e in backend.generate([requests[1]]) if isinstance(e, Finished)).trace
    assert alone.text == texts[1]


def test_the_answer_follows_a_grammar(backend: Any) -> None:
    grammar = Grammar('root ::= colour ", " [0-9]{2}\ncolour ::= "red" | "blue"')
    sampling = Sampling(temperature=1.5, seed=3)
    request = Request.raw("x", constraint=grammar, sampling=sampling, max_tokens=20)
    (*_, last) = backend.generate([request])
    assert re.fullmatch("(red|blue), [0-9]{2}", last.trace.text)


@pytest.mark.parametrize(
    "gbnf", ["root ::= nowhere", 'start ::= "a"', 'root ::= "open', 'root = "a"']
)
def test_a_grammar_with_a_mistake_is_refused(backend: Any, gbnf: str) -> None:
    with pytest.raises(InputError, match="grammar"):
        list(backend.generate([Request.raw("x", constraint=Grammar(gbnf))]))


def test_a_schema_that_is_none_is_refused(backend: Any) -> None:
    for schema in ("nonsense", '{"type": "nothing"}'):
        with pytest.raises(InputError, match="schema"):
            list(backend.generate([Request.raw("x", constraint=JsonSchema(schema))]))
    trace = list(backend.generate([Request.raw("x", max_tokens=3)]))[-1].trace
    assert np.isfinite(trace.nll).all(), "usable afterwards"
