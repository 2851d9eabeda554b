"""EnergyGuardMiddleware in agents of `create_agent`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import langchain.agents.middleware
import pytest
from agent_parts import AGAIN, BAD, CALL, GOOD, MARK, RISKY, RULES, agent, block, model, paid, pay
from chat_llama import chat_llama
from langchain.agents.middleware import (
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_energy_guard import AnswerWithheldError, ChatEnergyGuard
from langchain_energy_guard.middleware import EnergyGuardMiddleware, forgotten
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from energy_guard import Policy
from energy_guard.backends import Scripted
from energy_guard.errors import ConfigError

REFUSAL: Any = getattr(langchain.agents.middleware, "ModelRefusalMiddleware", None)


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Any:
    paid.clear()

    def invoke(agent: Any, text: str = "Who?", config: Any = None) -> list[Any]:
        asked = {"messages": [("user", text)]}
        if request.param == "async":
            state = asyncio.run(agent.ainvoke(asked, config))
        else:
            state = agent.invoke(asked, config)
        return list(state["messages"])

    return invoke


def test_an_answer_that_is_shown_passes(run: Any) -> None:
    said = run(agent(model(GOOD), EnergyGuardMiddleware()))[-1]
    assert (said.content, block(said)["verdict"]) == ("Paris", "accept")


def test_a_withheld_answer_is_the_abstention_and_the_agent_ends(run: Any) -> None:
    messages = run(agent(model(BAD), EnergyGuardMiddleware()))
    assert [message.content for message in messages] == ["Who?", RULES.abstention_text]
    assert (block(messages[-1])["verdict"], block(messages[-1])["shown"]) == ("abstain", False)
    assert MARK not in repr(messages)


def test_the_policy_retries(run: Any) -> None:
    said = run(agent(model(BAD, GOOD), EnergyGuardMiddleware(AGAIN)))[-1]
    assert (said.content, block(said)["attempts"]) == ("Paris", 2)


def test_a_fallback_is_asked_the_same(run: Any) -> None:
    other = FakeListChatModel(responses=["Rome"])
    said = run(agent(model(BAD), EnergyGuardMiddleware(fallback=other)))[-1]
    assert said.content == "Rome"


def test_a_call_that_is_shown_is_made(run: Any) -> None:
    messages = run(agent(model(CALL, GOOD), EnergyGuardMiddleware(), tools=[pay]))
    assert paid == ["Bob"]
    assert messages[-1].content == "Paris"


def test_a_withheld_call_is_not_made(run: Any) -> None:
    messages = run(agent(model(RISKY), EnergyGuardMiddleware(), tools=[pay]))
    assert paid == []
    assert messages[-1].content == RULES.abstention_text
    assert messages[-1].tool_calls == []
    assert MARK not in repr(messages)


def test_a_withheld_exchange_is_forgotten_the_next_time(run: Any) -> None:
    seen: list[list[str]] = []

    class Spy(Scripted):
        def measure(self, request: Any) -> Any:
            seen.append([turn.content for turn in request.turns()])
            return super().measure(request)

    asked = ChatEnergyGuard.of(Spy.saying(GOOD, BAD, GOOD), RULES)
    built = agent(asked, EnergyGuardMiddleware(), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    run(built, "First?", config)
    assert run(built, "Second?", config)[-1].content == RULES.abstention_text
    last = run(built, "Third?", config)
    assert [message.content for message in last] == ["First?", "Paris", "Third?", "Paris"]
    assert seen[-1] == ["First?", "Paris", "Third?"]


def test_an_exchange_with_a_call_that_nobody_could_make_is_forgotten_too(run: Any) -> None:
    unreadable = [("I paid Bob.\n", 0.99), ('{"name": "pay", "arguments": {"to": 5}}', 0.99)]
    asked = model(unreadable, GOOD)
    guarded_agent = agent(asked, EnergyGuardMiddleware(), tools=[pay], checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    first = run(guarded_agent, "Pay.", thread)
    assert first[-1].content == RULES.abstention_text
    assert block(first[-1])["shown"] is False
    again = run(guarded_agent, "Who?", thread)
    assert [message.text for message in again] == ["Who?", "Paris"]
    assert paid == []


def test_what_is_forgotten_is_the_whole_exchange() -> None:
    withheld = {"energy_guard": {"shown": False}}
    call: Any = {"name": "pay", "args": {}, "id": "a"}
    messages = [
        HumanMessage("a", id="1"),
        AIMessage("b", id="2"),
        HumanMessage("c", id="3"),
        AIMessage("", id="4", tool_calls=[call]),
        ToolMessage("paid", id="5", tool_call_id="a"),
        AIMessage("no", id="6", response_metadata=withheld),
        HumanMessage("d", id="7"),
    ]
    assert [gone.id for gone in forgotten(messages)] == ["3", "4", "5", "6"]
    assert forgotten(messages[:2]) == []


class City(BaseModel):
    """A city."""

    name: str


@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy])
def test_a_withheld_object_is_no_object(run: Any, strategy: Any) -> None:
    says = {
        ToolStrategy: [('{"name": "City", "arguments": {"name": "', 0.99), (MARK, 0.01)],
        ProviderStrategy: [('{"name": "', 0.99), (MARK, 0.01)],
    }[strategy]
    end = ('"}}' if strategy is ToolStrategy else '"}', 0.99)
    built = agent(model([*says, end]), EnergyGuardMiddleware(), response_format=strategy(City))
    messages = run(built)
    assert messages[-1].content == RULES.abstention_text
    assert MARK not in repr(messages)


def test_an_object_that_is_shown_is_one() -> None:
    says = [('{"name": "City", "arguments": {"name": "', 0.99), ("Rome", 0.99), ('"}}', 0.99)]
    built = agent(model(says), EnergyGuardMiddleware(), response_format=ToolStrategy(City))
    state = built.invoke({"messages": [("user", "Which?")]})
    assert state["structured_response"] == City(name="Rome")


def test_inside_it_a_fallback_that_nobody_judges_is_withheld(run: Any) -> None:
    other = ModelFallbackMiddleware(FakeListChatModel(responses=["Rome"]))
    said = run(agent(model(BAD), EnergyGuardMiddleware(), other))[-1]
    assert said.content == RULES.abstention_text


def test_inside_it_a_fallback_that_is_judged_is_shown(run: Any) -> None:
    other = ModelFallbackMiddleware(model(GOOD))
    said = run(agent(model(BAD), EnergyGuardMiddleware(), other))[-1]
    assert said.content == "Paris"


def test_inside_it_a_retry_of_what_is_withheld_is_judged(run: Any) -> None:
    again = ModelRetryMiddleware(max_retries=1, retry_on=(AnswerWithheldError,), initial_delay=0)
    said = run(agent(model(BAD, GOOD), EnergyGuardMiddleware(), again))[-1]
    assert said.content == "Paris"


def test_before_it_fallbacks_and_retries_hear_of_no_withheld_answer(run: Any) -> None:
    other = ModelFallbackMiddleware(model(GOOD))
    again = ModelRetryMiddleware(max_retries=1, retry_on=(AnswerWithheldError,), initial_delay=0)
    for outside in (other, again):
        said = run(agent(model(BAD, GOOD), outside, EnergyGuardMiddleware()))[-1]
        assert said.content == RULES.abstention_text


@pytest.mark.skipif(REFUSAL is None, reason="langchain has ModelRefusalMiddleware from 1.5")
def test_a_withheld_answer_is_no_refusal_to_the_agent(run: Any) -> None:
    """Before the guard's middleware and behind it: the abstention is the answer all the same."""
    asked = ChatEnergyGuard.of(Scripted.saying(BAD, BAD), RULES, refusal_block=True)
    for middleware in ([REFUSAL(), EnergyGuardMiddleware()], [EnergyGuardMiddleware(), REFUSAL()]):
        messages = run(agent(asked, *middleware))
        assert messages[-1].content == RULES.abstention_text
        assert MARK not in repr(messages)


def test_addresses_are_taken_out_and_stay_nowhere(run: Any) -> None:
    says = [("Write to ", 0.99), ("bob@example.com", 0.99)]
    hides = PIIMiddleware("email", strategy="redact", apply_to_output=True)
    messages = run(agent(model(says), EnergyGuardMiddleware(), hides))
    assert "bob" not in json.dumps([message.model_dump() for message in messages])


def test_summaries_are_not_judged() -> None:
    summing = model(BAD)
    sums = SummarizationMiddleware(summing, trigger=("messages", 3), keep=("messages", 1))
    built = agent(model(GOOD), EnergyGuardMiddleware(), sums)
    asked = {"messages": [("user", "Hi"), ("ai", "Hello"), ("user", "Which city?")]}
    texts = [message.text for message in built.invoke(asked)["messages"]]
    assert MARK in texts[0]
    assert texts[-1] == "Paris"


def test_a_model_that_nobody_guards_is_refused(run: Any) -> None:
    built = agent(FakeListChatModel(responses=["Rome"]), EnergyGuardMiddleware())
    with pytest.raises(ConfigError, match="nobody judged"):
        run(built)


class Tokens(BaseCallbackHandler):
    """Hears every token that a model streams."""

    run_inline = True

    def __init__(self) -> None:
        self.tokens: list[Any] = []

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.tokens.append(token)


@pytest.fixture(scope="module")
def own() -> Any:
    chat = chat_llama()
    yield chat
    chat.client.close()


@pytest.mark.model
def test_a_model_of_the_users_own_is_heard_by_nobody_before_it_is_judged(
    run: Any, own: Any
) -> None:
    asked = "What is the capital of France?"
    said = own.invoke(asked).content
    strict = Policy(detector="nll:max", warn=0.0, abstain=0.0)
    lax = Policy(detector="nll:max", warn=98.0, abstain=99.0)
    shown = run(agent(own, EnergyGuardMiddleware(lax, model=own)), asked)[-1]
    assert (shown.content, block(shown)["verdict"]) == (said, "accept")
    heard = Tokens()
    withheld = agent(own, EnergyGuardMiddleware(strict, model=own))
    assert run(withheld, asked, {"callbacks": [heard]})[-1].content == strict.abstention_text
    assert heard.tokens == []


@pytest.mark.model
def test_a_retry_of_a_model_of_the_users_own_is_counted(run: Any, own: Any) -> None:
    rules = Policy(detector="nll:max", warn=0.0, abstain=0.0, retries=1)
    message = run(agent(own, EnergyGuardMiddleware(rules, model=own)))[-1]
    assert (block(message)["verdict"], block(message)["attempts"]) == ("abstain", 2)
