"""The words of an answer that is withheld stand nowhere unless somebody asks for them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents import middleware as agents
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import content as blocks
from langchain_core.messages import message_to_dict
from langchain_energy_guard import AnswerWithheldError, ChatEnergyGuard, guarded
from langchain_energy_guard.messages import turns

from energy_guard import Policy
from energy_guard.backends import Scripted
from energy_guard.policy import UNCALIBRATED
from energy_guard.request import Message

ANSWER = [("Nicolas", 0.4), (" Stavisza", 0.05), (".", 0.9)]
RULES = Policy(detector="nll:max", warn=1.0, abstain=2.0)
ABSTENTION = RULES.abstention_text
REASON = "nll:max of the exact answer is 3.00, at or above the limit of 2"


class Heard(BaseCallbackHandler):
    """What a handler is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
        self.events.append((name, data))


def withholding(times: int = 1, policy: Policy = RULES, **settings: Any) -> ChatEnergyGuard:
    return ChatEnergyGuard.of(Scripted.saying(*[ANSWER] * times), policy, **settings)


def quotes(value: Any) -> bool:
    text = json.dumps(value)
    return "Stavisza" in text or "Nicolas" in text


@pytest.mark.parametrize("details", ["summary", "full", "none"])
@pytest.mark.parametrize("refusal_block", [False, True])
def test_the_content_of_an_abstention_is_a_text(details: Any, refusal_block: bool) -> None:
    settings: Any = {"details": details, "refusal_block": refusal_block}
    model = withholding(4, **settings)
    said = [model.invoke("Who?"), asyncio.run(model.ainvoke("Who?"))]
    said += [sum_of(list(model.stream("Who?"))), guarded(model, RULES).invoke("Who?")]
    assert [message.content for message in said] == [ABSTENTION] * 4
    live = list(withholding(streaming_mode="live", **settings).stream("Who?"))
    assert live[-1].content == f"\n\n{ABSTENTION}"


def sum_of(chunks: list[Any]) -> Any:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


def test_a_message_says_what_was_judged_and_quotes_nothing() -> None:
    message = withholding().invoke("Who?")
    assert not quotes(message_to_dict(message))
    assert not quotes(message.content_blocks)
    block = message.response_metadata["energy_guard"]
    assert (block["verdict"], block["shown"], block["attempts"]) == ("abstain", False, 1)
    assert (block["reason"], block["notes"]) == (REASON, [UNCALIBRATED])
    assert block["score"] == pytest.approx(3.0, abs=0.01)
    assert block["thresholds"] == {"on": "score", "warn": 1.0, "abstain": 2.0}
    assert (block["p_wrong"], block["calibrated"]) == (None, False)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_held_stream_quotes_nothing(asynchronous: bool) -> None:
    model, heard = withholding(), Heard()

    async def astreamed() -> list[Any]:
        return [chunk async for chunk in model.astream("Who?", {"callbacks": [heard]})]

    streamed = list(model.stream("Who?", {"callbacks": [heard]})) if not asynchronous else None
    chunks = asyncio.run(astreamed()) if streamed is None else streamed
    assert chunks
    assert not quotes([message_to_dict(chunk) for chunk in chunks])
    assert [name for name, _ in heard.events] == ["energy_guard_decision"]
    assert not quotes(heard.events)


def test_a_refusal_stands_beside_the_text_if_it_was_asked_for_and_langchain_has_them() -> None:
    plain = withholding().invoke("Who?")
    assert plain.content_blocks == [{"type": "text", "text": ABSTENTION}]
    message = withholding(refusal_block=True).invoke("Who?")
    assert message.response_metadata["energy_guard"]["refusal"] == REASON
    found = message.content_blocks
    if hasattr(blocks, "RefusalContentBlock"):
        assert found[1:] == [{"type": "refusal", "refusal": REASON}]
    else:
        assert found[1:] == []
    assert found[0] == {"type": "text", "text": ABSTENTION}
    shown = ChatEnergyGuard.of(Scripted.saying([("Paris", 0.99)]), refusal_block=True).invoke("?")
    assert [block["type"] for block in shown.content_blocks] == ["text"]


def test_an_abstention_in_a_chat_is_one_turn() -> None:
    said = withholding().invoke("Who?")
    assert turns([said]) == (Message("assistant", ABSTENTION),)


def test_the_errors_text_quotes_nothing() -> None:
    with pytest.raises(AnswerWithheldError) as caught:
        withholding().with_structured_output({"title": "who", "type": "object"}).invoke("Who?")
    assert not quotes([str(caught.value), repr(caught.value), caught.value.message])
    assert "Stavisza" in caught.value.partial


def test_events_of_a_guarded_retry_quote_nothing() -> None:
    rules = RULES.model_copy(update={"retries": 1, "retry": ("feedback",)})
    heard = Heard()
    chain = guarded(withholding(3), rules, more=lambda given, _: given)
    assert chain.invoke("Who?", {"callbacks": [heard]}).content == ABSTENTION
    assert "energy_guard_retry" in [name for name, _ in heard.events]
    assert not quotes(heard.events)
    message = guarded(withholding(2), RULES).invoke("Who?")
    assert not quotes(message_to_dict(message))


def test_words_are_there_for_who_asks_for_them() -> None:
    block = withholding(details="full").invoke("Who?").response_metadata["energy_guard"]
    assert (block["answer"], block["shown"]) == ("Nicolas Stavisza.", False)
    assert block["tokens"]["text"] == ["Nicolas", " Stavisza", ".", ""]
    assert not quotes(withholding(details="full").invoke("Who?").content_blocks)


@pytest.mark.parametrize("details", ["summary", "none"])
@pytest.mark.parametrize("p", [0.97, 0.05])
def test_no_words_stand_beside_the_content_unless_asked_for(p: float, details: Any) -> None:
    """Middleware that takes an address out of the content does not know of the metadata."""
    script = Scripted.saying([("Write to ", 0.97), ("bob@example.com", p)])
    model = ChatEnergyGuard.of(script, RULES, details=details, refusal_block=True)
    message = model.invoke("Mail?")
    assert "bob" not in json.dumps(message.response_metadata)
    block = message.response_metadata["energy_guard"]
    assert block["verdict"] == ("accept" if p > 0.5 else "abstain")
    assert ("reason" in block) == (details == "summary")


def test_without_texts_a_refusal_says_no_more_than_that_it_is_one() -> None:
    message = withholding(details="none", refusal_block=True).invoke("Who?")
    block = message.response_metadata["energy_guard"]
    assert block["refusal"] == "the answer is withheld"


def test_a_handler_and_guarded_carry_as_much_as_they_are_told() -> None:
    message = guarded(withholding(), RULES, details="full").invoke("Who?")
    assert message.response_metadata["energy_guard"]["answer"] == "Nicolas Stavisza."
    message = guarded(withholding(), RULES, details="none").invoke("Who?")
    assert "reason" not in message.response_metadata["energy_guard"]


def test_the_metadata_of_an_answer_does_not_grow_with_it() -> None:
    sizes = []
    for count in (3, 300):
        script = Scripted.saying([("word. ", 0.9)] * count)
        message = ChatEnergyGuard.of(script, max_tokens=count + 1).invoke("?")
        sizes.append(len(json.dumps(message.response_metadata)))
    assert sizes[1] - sizes[0] < 10
    assert sizes[1] < 2000
    assert len(repr(message)) < 5000


@pytest.mark.parametrize("setting", [{"details": "full"}, {"refusal_block": True}])
def test_how_much_is_carried_is_part_of_the_cache_key(setting: Any) -> None:
    keys = [withholding(**given)._identifying_params for given in ({}, setting)]
    assert keys[0] != keys[1]


@pytest.mark.parametrize("details", ["full", "summary"])
def test_a_verdict_on_limits_set_by_hand_says_that_it_is_uncalibrated(details: Any) -> None:
    block = withholding(details=details).invoke("Who?").response_metadata["energy_guard"]
    assert block["notes"] == [UNCALIBRATED]
    assert block["calibrated"] is False
    none = withholding(details="none").invoke("Who?").response_metadata["energy_guard"]
    assert none["calibrated"] is False


@pytest.mark.skipif(
    not hasattr(agents, "ModelRefusalMiddleware"), reason="langchain has it from 1.5 on"
)
def test_middleware_that_looks_for_refusals_finds_one_that_was_asked_for() -> None:
    from langchain_core.exceptions import ModelRefusalError

    def ask(**settings: Any) -> Any:
        looking: Any = agents.ModelRefusalMiddleware()
        agent: Any = create_agent(withholding(**settings), [], middleware=[looking])
        return agent.invoke({"messages": [("user", "Who?")]})["messages"][-1]

    assert ask().content == ABSTENTION
    with pytest.raises(ModelRefusalError) as caught:
        ask(refusal_block=True)
    assert not quotes([str(caught.value), repr(caught.value)])
