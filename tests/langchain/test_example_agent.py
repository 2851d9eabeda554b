"""The example of an agent, with a model that says what it is told to, and a person who types."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_energy_guard import ChatEnergyGuard

from energy_guard.backends import Scripted

PATH = Path(__file__).parents[2] / "examples" / "langchain_agent" / "agent.py"
SURE = [('{"name": "pay_out", "arguments": {"name": "Carla", "euros": 20}}', 0.99)]
UNSURE = [
    ('{"name": "pay_out", "arguments": {"name": "Ann", "euros": ', 0.99),
    ("30", 0.3),
    ("}}", 0.99),
]
WORDS = [("Very", 0.99), (" well", 0.99)]


@pytest.fixture
def example() -> Any:
    spec = importlib.util.spec_from_file_location("example_agent", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def lines(example: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    def answered(*says: Any, typed: list[str]) -> list[str]:
        keys: Iterator[str] = iter(typed)
        monkeypatch.setattr("builtins.input", lambda _: next(keys))
        clerk = example.Clerk(ChatEnergyGuard.of(Scripted.saying(*says), example.RULES))
        messages = clerk.answer("Pay.")
        assert list(keys) == []
        return [line for message in messages for line in example.lines_of(message)]

    return answered


def test_a_sure_call_is_made_and_nobody_is_asked(example: Any, lines: Any) -> None:
    said = lines(SURE, typed=[])
    assert said[0] == "  pay_out(name='Carla', euros=20)"
    assert said[-1] == "  paid 20 euros to Carla, who has 30 left"
    assert example.BOX["Carla"] == 30


def test_an_unsure_call_is_made_as_the_person_says(example: Any, lines: Any, capsys: Any) -> None:
    said = lines(UNSURE, typed=["what?", '{"name": "Ann", "euros": 12}'])
    assert said[0] == "  pay_out(name='Ann', euros=12)"
    assert said[1].endswith("and a person decided: edit")
    assert example.BOX["Ann"] == 23
    assert "  ? euros: 30 (score 1.20)" in capsys.readouterr().out


@pytest.mark.parametrize(("key", "left"), [("y", 5), ("n", 35)])
def test_a_person_approves_or_rejects(example: Any, lines: Any, key: str, left: int) -> None:
    said = lines(UNSURE, WORDS, typed=[key])
    assert example.BOX["Ann"] == left
    assert (said[-2] == "  Very well") is (key == "n")
