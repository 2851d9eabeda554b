"""`guarded` hands nothing out that nobody judged, whatever a chain does about errors."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_energy_guard import AnswerWithheldError, ChatEnergyGuard, guarded

from energy_guard import Policy
from energy_guard.backends import Scripted
from energy_guard.errors import ConfigError

RULES = Policy(detector="nll:max", warn=1.0, abstain=2.0)
ABSTENTION = RULES.abstention_text
BAD = [("Lyon", 0.01)]
GOOD = [("Paris", 0.99)]
FAKE: Any = FakeListChatModel(responses=["unjudged"])


def model(*answers: Any, **options: Any) -> Any:
    return ChatEnergyGuard.of(Scripted.saying(*answers), RULES, **options)


def text(*answers: Any) -> Any:
    return model(*answers) | StrOutputParser()


def both_ways(chain: Any, asked: Any = "?") -> list[Any]:
    """Its chains are asked twice."""
    return [chain.invoke(asked), asyncio.run(chain.ainvoke(asked))]


def unjudged(_: Any) -> str:
    return "unjudged"


def test_a_chain_without_a_guard_is_refused() -> None:
    hidden = FakeListChatModel(responses=["unjudged"] * 2)

    def asks(asked: str) -> str:
        return str(hidden.invoke(asked).content)

    for chain in (FAKE, FAKE | StrOutputParser(), RunnableLambda(asks), RunnableLambda(unjudged)):
        with pytest.raises(ConfigError, match="nobody judged"):
            guarded(chain, RULES).invoke("?")
        with pytest.raises(ConfigError, match="nobody judged"):
            asyncio.run(guarded(chain, RULES).ainvoke("?"))


def test_the_guard_in_a_chain_is_found() -> None:
    inside = model(GOOD, GOOD)

    def asks(asked: str) -> AIMessage:
        return inside.invoke(asked)  # type: ignore[no-any-return]

    assert both_ways(guarded(RunnableLambda(asks) | StrOutputParser(), RULES)) == ["Paris"] * 2


def test_an_answer_of_another_model_is_refused() -> None:
    """The guard that is in the chain was not asked."""
    branch: Any = RunnableLambda(lambda asked: FAKE if asked == "?" else model(GOOD))
    with pytest.raises(ConfigError, match="nobody judged"):
        guarded(branch, RULES).invoke("?")
    assert guarded(branch, RULES).invoke("!").content == "Paris"


def test_a_text_that_no_model_wrote_needs_no_judge() -> None:
    inside = text(GOOD, GOOD)
    chain = RunnableLambda(lambda asked: "Hello!" if asked == "hi" else inside)
    assert both_ways(guarded(chain, RULES), "hi") == ["Hello!"] * 2
    assert both_ways(guarded(chain, RULES)) == ["Paris"] * 2


@pytest.mark.parametrize("other", [RunnableLambda(unjudged), FAKE | StrOutputParser()])
def test_a_fallback_that_nobody_judges_is_not_handed_out(other: Any) -> None:
    chain = text(BAD, BAD).with_fallbacks([other])
    assert both_ways(guarded(chain, RULES)) == [ABSTENTION] * 2


def test_a_fallback_that_is_judged_is_handed_out() -> None:
    chain = text(BAD, BAD).with_fallbacks([text(GOOD, GOOD)])
    assert both_ways(guarded(chain, RULES)) == ["Paris"] * 2
    assert both_ways(guarded(text(BAD, BAD).with_fallbacks([text(BAD, BAD)]), RULES)) == (
        [ABSTENTION] * 2
    )


def test_a_judged_fallback_may_come_from_the_cache() -> None:
    chain = model(BAD, BAD).with_fallbacks([model(GOOD, cache=InMemoryCache())])
    asked = guarded(chain, RULES)
    assert [message.content for message in both_ways(asked)] == ["Paris"] * 2


def test_an_answer_elsewhere_does_not_stand_for_one_that_was_dropped() -> None:
    """What the fallback says goes into the prompt of the next model, or beside its answer."""
    first = text(BAD, BAD).with_fallbacks([RunnableLambda(unjudged)])
    in_a_row = first | RunnableLambda(str) | text(GOOD, GOOD)
    assert both_ways(guarded(in_a_row, RULES)) == [ABSTENTION] * 2
    first = text(BAD).with_fallbacks([RunnableLambda(unjudged)])
    beside: Any = RunnableParallel(a=first, b=text(GOOD))
    with pytest.raises(AnswerWithheldError):
        guarded(beside, RULES).invoke("?", {"max_concurrency": 1})


def test_a_function_that_catches_the_error_is_not_believed() -> None:
    inside = model(BAD, BAD)

    def asks(asked: str) -> str:
        try:
            return str(inside.invoke(asked).content)
        except AnswerWithheldError as error:
            return error.partial

    assert both_ways(guarded(RunnableLambda(asks), RULES)) == [ABSTENTION] * 2


def test_the_retry_of_langchain_may_find_an_answer() -> None:
    chain = text(BAD, GOOD, BAD, GOOD).with_retry(
        retry_if_exception_type=(AnswerWithheldError,), wait_exponential_jitter=False
    )
    assert both_ways(guarded(chain, RULES)) == ["Paris"] * 2


def test_policies_retry_what_a_fallback_took() -> None:
    rules = RULES.model_copy(update={"retries": 1})
    chain = model(BAD, GOOD).with_fallbacks([RunnableLambda(lambda _: AIMessage("unjudged"))])
    assert guarded(chain, rules, more=lambda given, _: given).invoke("?").content == "Paris"


@pytest.mark.parametrize("withheld", [False, True])
def test_a_guarded_chain_in_another_one_is_judged(withheld: bool) -> None:
    inner = guarded(text(BAD if withheld else GOOD), RULES)
    assert guarded(RunnablePassthrough() | inner, RULES).invoke("?") == (
        ABSTENTION if withheld else "Paris"
    )


def test_an_agents_fallback_is_judged_as_well() -> None:
    """Where langchain-core has refusals, its middleware acts on the error inside a node."""

    def agent(first: Any, other: Any) -> Any:
        made = create_agent(first, [], middleware=[ModelFallbackMiddleware(other)])
        return RunnableLambda(lambda asked: made.invoke({"messages": asked})["messages"][-1].text)

    def said(withheld: Any) -> str:
        return "withheld"

    unguarded: Any = FakeListChatModel(responses=["unjudged"])
    chain = guarded(agent(model(BAD), unguarded), RULES, abstention=said)
    assert chain.invoke("?") == "withheld"
    chain = guarded(agent(model(GOOD), unguarded), RULES, abstention=said)
    assert chain.invoke("?") == "Paris"
