"""Tokens are counted by the engine that will read them."""

from __future__ import annotations

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    trim_messages,
)
from langchain_energy_guard import ChatEnergyGuard

from energy_guard import Policy
from energy_guard.backends import Scripted
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.errors import InputError

SHOWING = Policy(detector="nll:max", warn=1.0, unscored="show")
CHAT: list[BaseMessage] = [
    SystemMessage("Answer briefly."),
    HumanMessage("Tell me all about the river. " * 40),
    AIMessage("It is long. " * 40),
    HumanMessage("Which river runs through Paris?"),
]


def weather(city: str) -> str:
    """Say what the weather is."""
    return city


@pytest.mark.model
def test_the_count_of_a_chat_is_that_of_its_prompt(demo: LlamaCpp) -> None:
    model = ChatEnergyGuard.of(demo, SHOWING, max_tokens=1)
    usage = model.invoke(CHAT).usage_metadata
    assert usage and model.get_num_tokens_from_messages(CHAT) == usage["input_tokens"]
    usage = model.bind_tools([weather]).invoke(CHAT).usage_metadata
    assert usage and model.get_num_tokens_from_messages(CHAT, [weather]) == usage["input_tokens"]


@pytest.mark.model
def test_a_chat_is_trimmed_to_what_fits(demo: LlamaCpp) -> None:
    model = ChatEnergyGuard.of(demo, SHOWING)
    kept = trim_messages(
        CHAT, max_tokens=60, token_counter=model, include_system=True, start_on="human"
    )
    assert kept == [CHAT[0], CHAT[3]]
    assert trim_messages(CHAT, max_tokens=1000, token_counter=model) == CHAT


@pytest.mark.model
def test_the_tokens_of_a_text(demo: LlamaCpp) -> None:
    model = ChatEnergyGuard.of(demo, SHOWING)
    ids = demo.engine.tokenize(b"hello world, how are you", add_bos=True, special=False)
    assert model.get_num_tokens("hello world, how are you") == len(ids)
    assert [model.get_num_tokens(text) for text in ("", "\n\n")] == [0, 2]


def test_a_chat_that_no_template_takes_is_counted_by_message() -> None:
    model = ChatEnergyGuard.of(Scripted.saying(), SHOWING)
    assert model.get_num_tokens_from_messages([]) == 0
    assert model.get_num_tokens_from_messages([HumanMessage("one two"), AIMessage("")]) == 4


def test_ids_are_those_of_whoever_gives_them() -> None:
    with pytest.raises(InputError, match="not known"):
        ChatEnergyGuard.of(Scripted.saying(), SHOWING).get_token_ids("x")
    own = ChatEnergyGuard.of(Scripted.saying(), SHOWING, custom_get_token_ids=lambda t: [1] * 7)
    assert own.get_token_ids("x") == [1] * 7
    assert own.get_num_tokens("x") == own.get_num_tokens_from_messages([HumanMessage("x")]) == 7
