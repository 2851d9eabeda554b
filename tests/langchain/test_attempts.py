"""Every attempt is told of, and no profile is asked about what it never saw."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_energy_guard import ChatEnergyGuard, guarded
from langchain_energy_guard.guarded_call import GuardedCall

from energy_guard import Guard, Policy, Profile
from energy_guard.backends import ModelInfo, Scripted
from energy_guard.errors import MismatchError
from energy_guard.judge import Judge
from energy_guard.profile import Calibration

BAD = [("Nicolas", 0.4), (" Stavisza", 0.05)]
GOOD = [("Paris", 0.99)]
TWICE = Policy(detector="nll:max", warn=1.0, abstain=2.0, retries=2)


class Heard(BaseCallbackHandler):
    """Notes the decisions."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.moves: list[tuple[str, int, int]] = []

    def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
        self.names.append(name.removeprefix("energy_guard_"))
        if name == "energy_guard_decision":
            self.moves.append((data["move"], data["attempt"], data["kept"]))


WAYS: dict[str, Any] = {
    "invoke": lambda model, config: model.invoke("?", config),
    "ainvoke": lambda model, config: asyncio.run(model.ainvoke("?", config)),
    "stream": lambda model, config: list(model.stream("?", config))[-1],
    "astream": lambda model, config: asyncio.run(_astreamed(model, config)),
}


async def _astreamed(model: Any, config: Any) -> Any:
    return [chunk async for chunk in model.astream("?", config)][-1]


@pytest.mark.parametrize("mode", ["live", "hold"])
@pytest.mark.parametrize("way", WAYS)
def test_every_attempt_is_a_decision(way: str, mode: str) -> None:
    heard = Heard()
    model: Any = ChatEnergyGuard.of(Scripted.saying(BAD, BAD, GOOD), TWICE, streaming_mode=mode)
    message = WAYS[way](model, {"callbacks": [heard]})
    assert heard.moves == [("retry", 1, 1), ("retry", 2, 1), ("accept", 3, 3)]
    assert message.response_metadata["energy_guard"]["attempts"] == 3
    streamed = mode == "live" and "stream" in way
    assert heard.names.count("retracted") == (2 if streamed else 0)


def test_attempts_before_the_fallback_are_decisions_as_well() -> None:
    rules = TWICE.model_copy(update={"retry": ("resample", "fallback")})
    other = Guard(Scripted.saying(GOOD), TWICE)
    model = ChatEnergyGuard.of(Scripted.saying(BAD, BAD), rules, fallback=other)
    heard = Heard()
    assert model.invoke("?", {"callbacks": [heard]}).content == "Paris"
    assert heard.moves == [("retry", 1, 1), ("retry", 2, 1), ("accept", 3, 3)]


def test_an_attempt_that_guarded_repeats_is_a_retry() -> None:
    heard = Heard()
    model = ChatEnergyGuard.of(Scripted.saying(BAD, GOOD))
    chain = guarded(model, TWICE, more=lambda given, _: given)
    assert chain.invoke("?", {"callbacks": [heard]}).content == "Paris"
    assert [move for move, *_ in heard.moves] == ["retry", "accept"]
    assert heard.names == ["decision", "retry", "decision"]


def profile(info: ModelInfo) -> Profile:
    return Profile(
        model=info.fingerprint,
        backend=info.backend,
        mode="chat",
        detector="nll:max",
        locator="automatic",
        calibration=Calibration(slope=1, intercept=0, n=98, n_wrong=50, lowest=-3, highest=3),
    )


def test_a_retry_with_other_input_has_no_p_wrong() -> None:
    """A profile without retries was made of answers to one question each."""
    script = Scripted.saying(BAD, GOOD)
    made = profile(script.info)
    rules = Policy(on="p_wrong", warn=0.1, abstain=0.5, retries=1)
    model = ChatEnergyGuard.of(script, profile=made)
    with pytest.raises(MismatchError, match="other input"):
        guarded(model, rules, more=lambda given, _: given).invoke("?")
    once = rules.model_copy(update={"retries": 0})
    assert guarded(model, once, more=lambda given, _: given).invoke("?").response_metadata


def test_nor_has_one_that_a_handler_judges() -> None:
    info = Scripted.saying().info
    rules = Policy(on="p_wrong", warn=0.1, abstain=0.5, retries=1)
    made = profile(info).model_copy(update={"retries": 1, "abstain": 0.5})
    judge = Judge.assemble(rules, profile=made)
    with pytest.raises(MismatchError, match="other input"):
        GuardedCall(None, asks_more=True).begin().judge_for(judge, "chat", info)
    assert GuardedCall(None).begin().judge_for(judge, "chat", info) == judge
