from __future__ import annotations

import dataclasses
import inspect
from importlib.resources import files

import energy_guard
from energy_guard import (
    Guard,
    Policy,
    Profile,
    Result,
    Trace,
    capture,
    grade,
    load,
    locate_text,
)
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


def test_the_parameters_that_callers_name() -> None:
    def parameters(function: object) -> list[str]:
        assert callable(function)
        return list(inspect.signature(function).parameters)

    assert parameters(Guard) == [
        "backend",
        "policy",
        "detector",
        "locator",
        "profile",
        "fallback",
        "log",
    ]
    assert parameters(load) == ["model", "backend", "engine_options"]
    assert parameters(capture)[:2] == ["engine", "on_step"]
    assert parameters(grade) == ["question", "answers", "answer", "choices", "answerable"]
    assert parameters(locate_text) == ["question", "answer", "choices", "locator"]
    assert parameters(Guard.score) == ["self", "prompt", "answer", "fast"]
    assert all(callable(cls.read) for cls in (Policy, Profile))


def test_type_checkers_find_the_types() -> None:
    assert files("energy_guard").joinpath("py.typed").is_file()
