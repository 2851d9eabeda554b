"""The words of an answer that is withheld stand nowhere unless somebody asks for them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
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


def test_the_content_of_an_abstention_is_a_text() -> None:
    for message in (withholding().invoke("Who?"), asyncio.run(withholding().ainvoke("Who?"))):
        assert message.content == ABSTENTION
        assert message.text == ABSTENTION
    last = list(withholding().stream("Who?"))[-1]
    assert last.content == f"\n\n{ABSTENTION}"


def test_a_message_that_abstains_quotes_nothing() -> None:
    message = withholding().invoke("Who?")
    assert not quotes(message_to_dict(message))
    assert not quotes(message.content_blocks)
    block = message.response_metadata["energy_guard"]
    assert (block["answer"], block["span"]["text"]) == (None, None)
    assert block["reason"] == REASON
    assert not {"id", "text"} & block["tokens"].keys()
    assert len(block["tokens"]["nll"]) == 4


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_held_stream_quotes_nothing(asynchronous: bool) -> None:
    model, heard = withholding(streaming_mode="hold"), Heard()

    async def astreamed() -> list[Any]:
        return [chunk async for chunk in model.astream("Who?", {"callbacks": [heard]})]

    streamed = list(model.stream("Who?", {"callbacks": [heard]})) if not asynchronous else None
    chunks = asyncio.run(astreamed()) if streamed is None else streamed
    assert chunks
    assert not quotes([message_to_dict(chunk) for chunk in chunks])
    assert [name for name, _ in heard.events] == ["energy_guard_decision"]
    assert not quotes(heard.events)


def test_a_refusal_stands_beside_the_text_if_langchain_has_them() -> None:
    found = withholding().invoke("Who?").content_blocks
    refused = [block for block in found if block["type"] == "refusal"]
    if hasattr(blocks, "RefusalContentBlock"):
        assert refused == [{"type": "refusal", "refusal": REASON}]
    else:
        assert refused == []
    assert found[0] == {"type": "text", "text": ABSTENTION}
    shown = ChatEnergyGuard.of(Scripted.saying([("Paris", 0.99)])).invoke("?")
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


@pytest.mark.parametrize("p", [0.97, 0.05])
def test_a_message_may_carry_no_texts_at_all(p: float) -> None:
    script = Scripted.saying([("Write to ", 0.97), ("bob@example.com", p)])
    message = ChatEnergyGuard.of(script, RULES, details="none").invoke("Mail?")
    block = message.response_metadata["energy_guard"]
    assert "bob" not in json.dumps(block)
    assert block["verdict"] == ("accept" if p > 0.5 else "abstain")
    assert message.content_blocks[-1].get("refusal", "the answer is withheld") == (
        "the answer is withheld"
    )


def test_a_summary_has_no_list_with_an_entry_a_token() -> None:
    script = Scripted.saying([("word ", 0.9)] * 60)
    message = ChatEnergyGuard.of(script, details="summary").invoke("?")
    block = message.response_metadata["energy_guard"]
    assert "tokens" not in block
    assert block["answer"] == message.content
    assert len(repr(message)) < 4000


def test_how_much_is_carried_is_part_of_the_cache_key() -> None:
    keys = [withholding(details=level)._identifying_params for level in ("shown", "full")]
    assert keys[0] != keys[1]


@pytest.mark.parametrize("details", ["shown", "full", "summary"])
def test_a_verdict_on_limits_set_by_hand_says_that_it_is_uncalibrated(details: Any) -> None:
    block = withholding(details=details).invoke("Who?").response_metadata["energy_guard"]
    assert block["notes"] == [UNCALIBRATED]
    assert block["calibrated"] is False
    none = withholding(details="none").invoke("Who?").response_metadata["energy_guard"]
    assert none["calibrated"] is False
