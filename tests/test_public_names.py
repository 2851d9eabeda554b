from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from importlib.resources import files
from types import ModuleType

import pytest

import energy_guard
from energy_guard import (
    Guard,
    Policy,
    Profile,
    Request,
    Result,
    Trace,
    backends,
    capture,
    events,
    grade,
    load,
    locate_text,
    request,
)
from energy_guard.judge import Judge
from energy_guard.request import RequestOptions
from energy_guard.trace import SIGNALS


def test_the_public_names() -> None:
    assert energy_guard.__all__ == [
        "Guard",
        "Message",
        "Policy",
        "Profile",
        "Request",
        "Result",
        "Sampling",
        "Trace",
        "capture",
        "grade",
        "load",
        "locate_text",
    ]
    assert all(getattr(energy_guard, name).__doc__ for name in energy_guard.__all__)


def test_a_result_has_what_the_contract_names() -> None:
    attributes = {field.name for field in dataclasses.fields(Result)}
    assert attributes >= {
        "text",
        "answer",
        "verdict",
        "reason",
        "p_wrong",
        "score",
        "span",
        "trace",
        "attempts",
    }


def test_a_trace_has_the_signals_under_their_names() -> None:
    fields = {field.name for field in dataclasses.fields(Trace)}
    for name in (*SIGNALS, "log_partition", "ids", "pieces", "text"):
        assert name in fields or isinstance(getattr(Trace, name), property)


def parameters(function: object) -> list[str]:
    """The names of a function's parameters, `*` before those that must be named."""
    assert callable(function)
    found = inspect.signature(function).parameters.values()
    names = [p.name for p in found]
    named = [p.kind is inspect.Parameter.KEYWORD_ONLY for p in found]
    return [*names[: named.index(True)], "*", *names[named.index(True) :]] if any(named) else names


def test_the_parameters_that_callers_name() -> None:
    assert parameters(Guard) == [
        "backend",
        "policy",
        "*",
        "detector",
        "locator",
        "profile",
        "fallback",
        "log",
        "support",
    ]
    assert parameters(load) == ["model", "backend", "engine_options"]
    assert parameters(capture)[:3] == ["engine", "on_step", "*"]
    for ask in (Guard.ask, Guard.aask, Guard.measure, Guard.question):
        assert parameters(ask) == ["self", "prompt", "options"]
    for stream in (Guard.stream, Guard.astream):
        assert parameters(stream) == ["self", "prompt", "*", "release", "options"]
    assert parameters(Guard.ask_many) == ["self", "prompts", "*", "sharing", "at_once"]
    assert parameters(Guard.score) == ["self", "prompt", "answer", "*", "fast"]
    assert parameters(Guard.score_many) == ["self", "pairs", "*", "fast"]
    assert parameters(Guard.with_judge) == ["self", "judge"]
    assert parameters(Guard.for_request) == ["self", "request", "*", "scoring", "alone"]
    assert parameters(Request.chat) == ["question", "options"]
    assert parameters(Request.raw) == ["text", "options"]
    assert parameters(Judge.assemble)[:2] == ["policy", "*"]
    assert parameters(grade) == ["question", "answers", "answer", "choices", "answerable"]
    assert parameters(locate_text) == ["question", "answer", "choices", "locator"]
    assert all(callable(cls.read) for cls in (Policy, Profile))


def test_the_options_of_a_question_are_the_fields_of_a_request() -> None:
    fields = {field.name for field in dataclasses.fields(Request)}
    assert RequestOptions.__required_keys__ == set()
    assert fields - {"messages", "text", "ids"} == RequestOptions.__optional_keys__


@pytest.mark.parametrize("module", [events, request])
def test_modules_for_integrations_say_what_is_public(module: ModuleType) -> None:
    own = {
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    }
    aliases = {"GuardEvent"} if module is events else {"Event", "Role"}
    assert set(module.__all__) == own | aliases


def test_the_events_of_a_stream() -> None:
    assert events.__all__ == ["AttemptStarted", "Done", "GuardEvent", "Retracted", "Text"]


NOT_CALLED = {"Finished", "Partition", "Text", "RequestOptions"}
"""Records with more than two fields that callers read and do not make, and a type of options."""


FIXED_BY_CONTRACT = {"grade", "locate_text"}
"""Functions whose parameters scripts outside the project may give by their places."""


def public_callables() -> Iterator[tuple[str, object]]:
    """The functions and classes that users call, with the classes' public methods."""
    for module in (energy_guard, backends, events, request):
        for name in module.__all__:
            value = getattr(module, name)
            if name not in NOT_CALLED and callable(value):
                yield name, value
            if inspect.isclass(value):
                own = inspect.getmembers(value, callable)
                methods = [(n, m) for n, m in own if n in vars(value) and not n.startswith("_")]
                yield from ((f"{name}.{method}", function) for method, function in methods)


CALLABLES = dict(public_callables())


@pytest.mark.parametrize("name", sorted(CALLABLES.keys() - FIXED_BY_CONTRACT))
def test_parameters_beyond_the_second_are_named(name: str) -> None:
    function = CALLABLES[name]
    positional = parameters(function)
    positional = positional[: positional.index("*")] if "*" in positional else positional
    kinds = inspect.signature(function).parameters  # type: ignore[arg-type]
    starred = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    by_place = [p for p in positional if p not in ("self", "cls") and kinds[p].kind not in starred]
    assert len(by_place) <= 2, name


def test_type_checkers_find_the_types() -> None:
    assert files("energy_guard").joinpath("py.typed").is_file()
