from __future__ import annotations

import re
from typing import Any

import pytest

from energy_guard.errors import InputError
from energy_guard.tool_schema import misfit
from energy_guard.tools import schemas_of

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


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"required": ["any"]}])
def test_a_schema_without_properties_takes_any_arguments(schema: dict[str, Any]) -> None:
    assert misfit({"any": 1}, schema) is None
    assert misfit({"any": 1}, schema | {"properties": {}}) == "there is no argument any"
    assert misfit({"any": 1}, schema | {"additionalProperties": False}) is not None


def test_an_object_inside_an_argument_may_have_more_than_is_named() -> None:
    cents = {"type": "object", "properties": {"cents": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"sum": cents, "free": {"type": "object"}}}
    assert misfit({"sum": {"cents": 1, "note": "x"}, "free": {"a": 1}}, schema) is None
    closed = schema | {"properties": {"sum": cents | {"additionalProperties": False}}}
    assert misfit({"sum": {"cents": 1, "note": "x"}}, closed) is not None


def test_a_number_that_is_too_large_to_be_divided_does_not_fit() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "number", "multipleOf": 0.5}}}
    assert misfit({"x": 10**400}, schema) == "a number in it is too large"
    assert misfit({"x": 10}, schema) is None


@pytest.mark.parametrize("parameters", [True, False, [], "object", {"$schema": 5}])
def test_a_tool_whose_schema_is_none_is_refused_by_name(parameters: Any) -> None:
    tool = {"type": "function", "function": {"name": "pay", "parameters": parameters}}
    with pytest.raises(InputError, match="tool pay"):
        schemas_of([tool])


def test_a_tool_without_parameters_takes_none_and_an_empty_schema_takes_any() -> None:
    none: dict[str, Any] = {"type": "function", "function": {"name": "now"}}
    free = {"type": "function", "function": {"name": "note", "parameters": {}}}
    schemas = schemas_of([none, free])
    assert misfit({"x": 1}, schemas["now"]) == "there is no argument x"
    assert misfit({"x": 1}, schemas["note"]) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"properties": []},
        {"properties": {"x": {"$ref": "https://example.org/schema.json"}}},
        {"properties": {"x": {"$ref": "#/$defs/none"}}},
        {"properties": {"x": {"pattern": "("}}},
        {"$ref": "#"},
        {"$schema": "http://["},
        {"properties": {"x": {"$ref": "#/title"}}, "title": "note"},
        {"properties": {"x": {"$ref": "#/maxProperties"}}, "maxProperties": 9},
        {"properties": {"x": {"$ref": "#/allOf/one"}}, "allOf": [{}]},
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
