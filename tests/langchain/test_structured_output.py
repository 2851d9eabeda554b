"""Objects of a schema: whole, or an error."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_energy_guard import ChatEnergyGuard
from pydantic import BaseModel

from energy_guard import Policy
from energy_guard.backends.llama_cpp import LlamaCpp

SHOWING = Policy(detector="nll:max", warn=50.0, unscored="show")
ASKED = "Anna is 20 and lives in Oslo."
METHODS = ("json_schema", "json_mode", "function_calling")


class Person(BaseModel):
    """A person; nothing is required, so that a part of one looks like one."""

    name: str = ""
    age: int = 0
    address: str = ""


SCHEMAS: dict[str, Any] = {
    "dict": {
        "title": "Person",
        "description": "A person.",
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "address": {"type": "string"},
        },
        "required": ["name", "age", "address"],
    },
    "pydantic": Person,
}


@pytest.mark.model
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_part_of_an_object_is_an_error(demo: LlamaCpp, kind: str, method: Any) -> None:
    model = ChatEnergyGuard.of(demo, SHOWING, max_tokens=12)
    whole = model.with_structured_output(SCHEMAS[kind], method=method)
    with pytest.raises(OutputParserException, match=r"no complete object \(length\)") as raised:
        whole.invoke(ASKED)
    assert (raised.value.llm_output or "").startswith("{")
    with pytest.raises(OutputParserException):
        list(whole.stream(ASKED))
    raw = model.with_structured_output(SCHEMAS[kind], method=method, include_raw=True)
    found = raw.invoke(ASKED)
    assert isinstance(found["parsing_error"], OutputParserException)
    assert found["parsed"] is None and found["raw"].response_metadata["energy_guard"]


@pytest.mark.model
@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_whole_one_comes_as_it_is(demo: LlamaCpp, kind: str) -> None:
    model = ChatEnergyGuard.of(demo, SHOWING, max_tokens=80)
    bound = model.with_structured_output(SCHEMAS[kind])
    demo.engine.reset()  # a prefix in the cache changes the numbers a little
    (person,) = bound.stream(ASKED)
    demo.engine.reset()
    assert person == bound.invoke(ASKED)
    assert (person["name"] if kind == "dict" else person.name) == "Anna"
