"""`guarded` around a ChatEnergyGuard: whose rules count."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_energy_guard import AnswerWithheldError, ChatEnergyGuard, guarded

from energy_guard import Policy
from energy_guard.backends import Scripted
from energy_guard.errors import ConfigError, MismatchError

LOOSE = Policy(detector="nll:max", warn=5.0, abstain=9.0)
STRICT = Policy(detector="nll:max", warn=0.01, abstain=0.02)
ABSTENTION = STRICT.abstention_text


class Heard(BaseCallbackHandler):
    """Notes custom events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        self.events.append((name, data))


def paris(policy: Policy | None = LOOSE, **options: Any) -> Any:
    answers = [[("Par", 0.97), ("is", 0.6)]] * 8
    return ChatEnergyGuard.of(Scripted.saying(*answers), policy, **options)


def block(message: Any) -> dict[str, Any]:
    return message.response_metadata["energy_guard"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("retries", [0, 2])
def test_the_given_policy_counts(retries: int) -> None:
    rules = STRICT.model_copy(update={"retries": retries})
    chain = guarded(paris(), rules)
    for message in (chain.invoke("?"), asyncio.run(chain.ainvoke("?"))):
        assert message.content == ABSTENTION
        assert block(message)["verdict"] == "abstain"
        assert block(message)["attempts"] == retries + 1
    assert guarded(paris(STRICT), LOOSE).invoke("?").content == "Paris"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_it_counts_in_a_stream_inside(asynchronous: bool) -> None:
    model = paris()

    def ask(asked: str) -> Any:
        return list(model.stream(asked))[-1]

    async def aask(asked: str) -> Any:
        return [chunk async for chunk in model.astream(asked)][-1]

    with pytest.raises(AnswerWithheldError, match="limit of"):
        if asynchronous:
            asyncio.run(guarded(RunnableLambda(aask), STRICT).ainvoke("?"))
        else:
            guarded(RunnableLambda(ask), STRICT).invoke("?")


def test_the_models_own_rules_stay() -> None:
    model = paris()
    assert guarded(model, STRICT).invoke("?").content == ABSTENTION
    assert model.guard.policy == LOOSE
    assert model.invoke("?").content == "Paris"


def test_rules_that_nobody_gave_make_room() -> None:
    """As in a Guard, thresholds go before a profile or a default that was found by itself."""
    rules = Policy(detector="entropy:mean", warn=0.0, abstain=0.0)
    assert block(guarded(paris(None), rules).invoke("?"))["detector"] == "entropy:mean"
    with pytest.raises(MismatchError, match="thresholds are for entropy:mean"):
        guarded(paris(), rules).invoke("?")


def test_a_policy_that_cannot_be_carried_out_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a profile"):
        guarded(paris(), Policy(on="p_wrong", warn=0.1, abstain=0.2)).invoke("?")


def test_a_retry_with_the_fallback_is_that_of_guarded() -> None:
    rules = STRICT.model_copy(update={"retries": 3, "retry": ("resample", "fallback")})

    def other(asked: str) -> AIMessage:
        return AIMessage(f"other: {asked}")

    chain = guarded(paris(), rules, fallback=RunnableLambda(other))
    heard = Heard()
    assert chain.invoke("?", {"callbacks": [heard]}).content == "other: ?"
    assert [data["attempts"] for name, data in heard.events if name.endswith("fallback")] == [2]


def test_more_is_asked_for_each_retry() -> None:
    """A retry with other input is no retry of the model: it would ask the same."""
    asked: list[str] = []
    model = paris()

    def ask(given: str) -> AIMessage:
        asked.append(given)
        return model.invoke(given)  # type: ignore[no-any-return]

    rules = STRICT.model_copy(update={"retries": 2})
    chain = guarded(RunnableLambda(ask), rules, more=lambda given, _: given + "+")
    assert chain.invoke("?").content == ABSTENTION
    assert asked == ["?", "?+", "?++"]


def test_an_answer_of_other_rules_does_not_come_from_the_cache() -> None:
    model = paris(cache=InMemoryCache())
    assert model.invoke("?").content == "Paris"
    assert guarded(model, STRICT).invoke("?").content == ABSTENTION


def test_the_deadline_is_for_all_rounds() -> None:
    """The guard's own clock begins anew with every answer; that of the chain does not."""
    model = paris()

    def ask(given: str) -> AIMessage:
        time.sleep(0.2)
        return model.invoke(given)  # type: ignore[no-any-return]

    rules = STRICT.model_copy(update={"retries": 5, "deadline_s": 0.5})
    chain = guarded(RunnableLambda(ask), rules, more=lambda given, _: given)
    message = chain.invoke("?")
    assert block(message)["finish_reason"] == "deadline"
