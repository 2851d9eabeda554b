"""Synchronous and asynchronous runs of one model, at the same time or in one another."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from chat_llama import chat_llama
from langchain_core.runnables import RunnableLambda
from langchain_energy_guard import (
    AnswerWithheldError,
    AsyncEnergyGuardCallbackHandler,
    guarded,
)

from energy_guard import Policy
from energy_guard.backends.demo_model import demo_path
from energy_guard.errors import ConfigError

pytestmark = pytest.mark.model

SKY = "What colour is the sky?"
SHOWS = Policy(detector="nll:max", warn=50.0)
WITHHOLDS = Policy(detector="nll:max", warn=0.0, abstain=0.0)


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    chat = chat_llama(streaming=False)
    before = set(vars(chat.client))
    yield chat
    assert set(vars(chat.client)) == before
    chat.client.close()


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.3])
def test_a_misused_run_fails_and_no_other_one(model: Any, delay_s: float) -> None:
    """Both share a handler; the async one ends or starts while the other is on its way."""
    config: Any = {"callbacks": [AsyncEnergyGuardCallbackHandler(model, WITHHOLDS)]}

    async def right() -> Any:
        await asyncio.sleep(delay_s)
        return await model.ainvoke(SKY, config)

    async def both() -> list[Any]:
        wrong = asyncio.to_thread(model.invoke, "Tell me about cats. " * 90, config)
        return await asyncio.gather(wrong, right(), return_exceptions=True)

    assert [type(outcome) for outcome in asyncio.run(both())] == [ConfigError, AnswerWithheldError]


@pytest.mark.parametrize("way", ["function", "coroutine", "stream", "astream"])
def test_any_function_may_be_part_of_an_asynchronous_chain(model: Any, way: str) -> None:
    """LangChain runs a plain one in a thread; its runs of the model are synchronous."""

    def plain(asked: str) -> Any:
        return model.invoke(asked)

    def streams(asked: str) -> Any:
        return list(model.stream(asked))[-1]

    async def asks(asked: str) -> Any:
        return await model.ainvoke(asked)

    async def astreams(asked: str) -> Any:
        return [chunk async for chunk in model.astream(asked)][-1]

    functions = [plain, asks, streams, astreams]
    ways = ["function", "coroutine", "stream", "astream"]
    function: Any = RunnableLambda(functions[ways.index(way)])
    shows = guarded(function, SHOWS, model=model)
    message = asyncio.run(shows.ainvoke(SKY))
    assert message.response_metadata["energy_guard"]["verdict"] == "accept"
    rules = WITHHOLDS.model_copy(update={"retries": 1})
    withholds = guarded(function, rules, model=model, abstention=lambda r: len(r.attempts))
    assert asyncio.run(withholds.ainvoke(SKY)) == 2
    assert asyncio.run(withholds.abatch([SKY] * 3)) == [2] * 3


def test_a_call_that_stops_the_loop_is_refused(model: Any) -> None:
    async def blocks(asked: str) -> Any:
        return model.invoke(asked)

    chain: Any = RunnableLambda(blocks)
    with pytest.raises(ConfigError, match="cannot stop a synchronous run"):
        asyncio.run(guarded(chain, SHOWS, model=model).ainvoke(SKY))
    assert guarded(model, SHOWS, model=model).invoke(SKY).content


def test_a_text_model_may_be_asked_in_both_ways() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the package says it has an end
        from langchain_community.llms import LlamaCpp
    options = {"n_ctx": 512, "max_tokens": 8, "n_threads": 1, "verbose": False}
    text = LlamaCpp(model_path=str(demo_path()), model_kwargs={"n_threads_batch": 1}, **options)
    rules = WITHHOLDS.model_copy(update={"nothing_to_check": "withhold"})
    chains: list[Any] = [RunnableLambda(lambda asked: text.invoke(asked)), text]
    for chain in chains:
        asked = guarded(chain, rules, model=text, abstention=lambda result: result.verdict)
        assert asyncio.run(asked.ainvoke("The sky is")) == "abstain"
    alone: Any = {"callbacks": [AsyncEnergyGuardCallbackHandler(text, rules)]}
    with pytest.raises(ConfigError, match="cannot stop a synchronous run"):
        text.invoke("The sky is", alone)
    text.client.close()
