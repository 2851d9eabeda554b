"""Calls of tools that a user's own model makes, as LangChain reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from chat_llama import chat_llama
from langchain_energy_guard import AnswerWithheldError, EnergyGuardCallbackHandler

from energy_guard import Policy

pytestmark = pytest.mark.model

SHOWS = Policy(detector="nll:max", warn=50.0, abstain=99.0)
WITHHOLDS = Policy(detector="nll:max", warn=0.0, abstain=0.0)
SKY = "What colour is the sky? Answer in one word."


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    chat = chat_llama()
    yield chat
    chat.client.close()


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def called(request: pytest.FixtureRequest, model: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the user's own model be read as one that calls a tool, with these arguments."""
    write = model.client.create_chat_completion
    monkeypatch.setattr(model, "streaming", request.param)

    def with_arguments(*arguments: str) -> None:
        calls = [
            {
                "index": number,
                "id": str(number),
                "type": "function",
                "function": {"name": "pay", "arguments": each},
            }
            for number, each in enumerate(arguments)
        ]

        def streamed(chunks: Any) -> Iterator[Any]:
            first = next(chunks)
            first["choices"][0]["delta"]["tool_calls"] = calls
            yield first
            yield from chunks

        def create(*args: Any, **kwargs: Any) -> Any:
            written = write(*args, **kwargs)
            if request.param:
                return streamed(written)
            written["choices"][0]["message"]["tool_calls"] = calls
            return written

        monkeypatch.setattr(model.client, "create_chat_completion", create)

    return with_arguments


def test_an_answer_that_is_nothing_but_unreadable_calls_is_withheld(
    model: Any, called: Any
) -> None:
    called("to Bob")
    handler = EnergyGuardCallbackHandler(model, SHOWS)
    with pytest.raises(AnswerWithheldError, match="the answer is a call") as caught:
        model.invoke(SKY, {"callbacks": [handler]})
    assert not caught.value.structured
    assert caught.value.result.verdict == "unscored"


def test_a_call_beside_an_unreadable_one_can_be_made(model: Any, called: Any) -> None:
    called("to Ann", '{"to": "Bob"}')
    message = model.invoke(SKY, {"callbacks": [EnergyGuardCallbackHandler(model, SHOWS)]})
    assert [call["args"] for call in message.tool_calls] == [{"to": "Bob"}]
    (told,) = message.response_metadata["energy_guard"]["tool_calls"]
    assert told == {"name": "pay", "arguments": {"to": {"score": None}}}, "it wrote no such call"


def test_a_withheld_call_of_a_users_own_model_is_in_the_error(model: Any, called: Any) -> None:
    called('{"to": "Bob"}')
    with pytest.raises(AnswerWithheldError) as caught:
        model.invoke(SKY, {"callbacks": [EnergyGuardCallbackHandler(model, WITHHOLDS)]})
    assert caught.value.calls.calls[0]["args"] == {"to": "Bob"}
    assert "Bob" not in str(caught.value)
