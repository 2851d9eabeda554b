"""LangChain's cache gives nothing that does not hold where it is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_energy_guard import ChatEnergyGuard, guarded
from langchain_energy_guard.cache_key import cache_key

from energy_guard import Guard, Policy, Profile
from energy_guard.backends import ModelInfo, Scripted
from energy_guard.profile import Calibration


class FlashAttention(Scripted):
    @property
    def info(self) -> ModelInfo:
        return replace(super().info, engine={"flash_attn": True})


SHOWING = Policy(detector="nll:max", warn=1.0, unscored="show")
WITHHOLDING = Policy(detector="nll:max", warn=0.0, abstain=0.0)


def paris(times: int = 4, backend: type[Scripted] = Scripted) -> Scripted:
    return backend.saying(*[[("Par", 0.97), ("is", 0.9)]] * times)


def asked(model: Any, **options: Any) -> dict[str, Any]:
    return model.invoke("?", **options).response_metadata["energy_guard"]  # type: ignore[no-any-return]


def test_options_of_the_engine_that_move_its_numbers_are_in_the_key() -> None:
    plain, flash = paris(), paris(backend=FlashAttention)
    assert flash.info.fingerprint == plain.info.fingerprint
    one, same, other = (cache_key(Guard(backend, SHOWING)) for backend in (plain, paris(), flash))
    assert one == same
    assert one != other


def test_the_same_is_asked_once() -> None:
    model = ChatEnergyGuard.of(paris(times=1), SHOWING, cache=InMemoryCache())
    assert asked(model) == asked(model)


def test_a_verdict_belongs_to_one_calibration() -> None:
    backend, cache = paris(), InMemoryCache()

    def risk(intercept: float) -> float:
        calibration = Calibration(
            slope=1, intercept=intercept, n=98, n_wrong=50, lowest=-3, highest=3
        )
        profile = Profile(
            model=backend.info.fingerprint,
            backend="scripted",
            mode="chat",
            detector="nll:max",
            locator="whole",
            calibration=calibration,
        )
        p_wrong: float = asked(ChatEnergyGuard.of(backend, profile=profile, cache=cache))["p_wrong"]
        return p_wrong

    assert risk(-3) < 0.1 < 0.4 < risk(0)


def test_an_answer_belongs_to_one_fallback() -> None:
    backend, cache = paris(), InMemoryCache()
    policy = Policy(detector="nll:max", abstain=0.0, retries=1, retry=("fallback",))
    for said in ("Lyon", "Rome"):
        other = Guard(Scripted.saying([(said, 0.9)]), SHOWING)
        model = ChatEnergyGuard.of(backend, policy, fallback=other, cache=cache)
        assert model.invoke("?").content == said


def test_an_abstention_is_no_answer_inside_guarded() -> None:
    model = ChatEnergyGuard.of(paris(), WITHHOLDING, cache=InMemoryCache())
    fallback = RunnableLambda(lambda _: AIMessage("of the fallback"))
    assert model.invoke("?").text == WITHHOLDING.abstention_text
    assert guarded(model, fallback=fallback).invoke("?").content == "of the fallback"
    assert model.invoke("?").text == WITHHOLDING.abstention_text


def test_an_answer_that_was_cut_off_is_not_for_who_has_time() -> None:
    backend, cache = paris(), InMemoryCache()
    hurried = ChatEnergyGuard.of(backend, SHOWING, timeout=1e-9, cache=cache)
    assert asked(hurried)["finish_reason"] == "deadline"
    assert asked(hurried, timeout=100)["finish_reason"] == "eos"
    patient = ChatEnergyGuard.of(backend, SHOWING, cache=cache)
    assert asked(patient)["finish_reason"] == "eos"
