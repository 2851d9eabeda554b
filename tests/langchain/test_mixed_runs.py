"""Synchronous and asynchronous runs of one model, at the same time or in one another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from chat_llama import chat_llama
from langchain_energy_guard import (
    AnswerWithheldError,
    AsyncEnergyGuardCallbackHandler,
)

from energy_guard import Policy
from energy_guard.errors import ConfigError

pytestmark = pytest.mark.model

WITHHOLDS = Policy(detector="nll:max", warn=0.0, abstain=0.0)


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    chat = chat_llama(streaming=False)
    yield chat
    chat.client.close()


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.3])
def test_a_misused_run_fails_and_no_other_one(model: Any, delay_s: float) -> None:
    """Both share a handler; the async one ends or starts while the other is on its way."""
    config: Any = {"callbacks": [AsyncEnergyGuardCallbackHandler(model, WITHHOLDS)]}

    async def right() -> Any:
        await asyncio.sleep(delay_s)
        return await model.ainvoke("What colour is the sky?", config)

    async def both() -> list[Any]:
        wrong = asyncio.to_thread(model.invoke, "Tell me about cats. " * 90, config)
        return await asyncio.gather(wrong, right(), return_exceptions=True)

    assert [type(outcome) for outcome in asyncio.run(both())] == [ConfigError, AnswerWithheldError]
