from __future__ import annotations

import re
from typing import Any

import pytest

from energy_guard.tool_schema import misfit

PAY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "to": {"type": "string", "minLength": 1},
        "sum": {"$ref": "#/$defs/money"},
        "how": {"enum": ["cash", "card"]},
    },
    "required": ["to", "sum"],
    "$defs": {"money": {"type": "object", "properties": {"cents": {"type": "integer"}}}},
}
GOOD = {"to": "Bob", "sum": {"cents": 9}}


@pytest.mark.parametrize("more", [{}, {"how": "card"}, {"sum": {"cents": 1, "note": "x"}}])
def test_arguments_that_fit(more: dict[str, Any]) -> None:
    assert misfit(GOOD | more, PAY) is None


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({}, "$ lacks to, sum"),
        ({"to": "Bob"}, "$ lacks sum"),
        (GOOD | {"to": 9}, "$.to is not of the type 'string'"),
        (GOOD | {"to": ""}, "$.to does not fit its minLength"),
        (GOOD | {"how": "gold"}, "$.how does not fit its enum"),
        (GOOD | {"sum": {"cents": "secret"}}, "$.sum.cents is not of the type 'integer'"),
        (GOOD | {"sum": {"cents": True}}, "$.sum.cents is not of the type 'integer'"),
        (GOOD | {"from": "Eve"}, "there is no argument from"),
    ],
)
def test_what_does_not_fit_is_named_without_its_value(arguments: Any, wrong: str) -> None:
    assert misfit(arguments, PAY) == wrong


@pytest.mark.parametrize("open_", [{"additionalProperties": True}, {"patternProperties": {"": {}}}])
def test_a_schema_may_say_that_other_arguments_may_come(open_: dict[str, Any]) -> None:
    assert misfit(GOOD | {"from": "Eve"}, PAY | open_) is None
    assert misfit({"any": 1}, {"type": "object"}) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"properties": []},
        {"properties": {"x": {"$ref": "https://example.org/schema.json"}}},
        {"properties": {"x": {"$ref": "#/$defs/none"}}},
        {"properties": {"x": {"pattern": "("}}},
        {"$ref": "#"},
    ],
    ids=lambda schema: re.sub(r"\W+", " ", str(schema)),
)
def test_a_schema_that_cannot_be_applied_fits_nothing(schema: dict[str, Any]) -> None:
    assert misfit({"x": "y"}, schema) == "its schema cannot be applied"


def test_an_argument_that_is_nested_too_deeply_does_not_fit() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = {"x": deep}
    schema = {"type": "object", "properties": {"x": {"$ref": "#"}}}
    assert misfit(deep, schema) == "its schema cannot be applied"
