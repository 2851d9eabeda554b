from __future__ import annotations

import inspect

import langchain_energy_guard
from langchain_energy_guard import ChatEnergyGuard, EnergyGuardCallbackHandler, guarded


def test_the_public_names() -> None:
    assert langchain_energy_guard.__all__ == [
        "AnswerRetryError",
        "AnswerWithheldError",
        "AsyncEnergyGuardCallbackHandler",
        "ChatEnergyGuard",
        "EnergyGuardCallbackHandler",
        "Guarded",
        "guarded",
    ]
    names = langchain_energy_guard.__all__
    assert all(getattr(langchain_energy_guard, name).__doc__ for name in names)


def test_the_parameters_that_callers_name() -> None:
    def parameters(function: object) -> set[str]:
        assert callable(function)
        return set(inspect.signature(function).parameters)

    rules = {"model", "policy", "detector", "locator", "profile"}
    assert parameters(ChatEnergyGuard.of) == {*rules, "fallback", "log", "support", "settings"}
    assert parameters(EnergyGuardCallbackHandler) == {*rules, "raise_error", "wait_s", "details"}
    assert parameters(guarded) == {
        *(*rules, "runnable", "fallback", "more", "abstention", "details"),
    }


def test_the_settings_that_callers_name() -> None:
    sampling = {"temperature", "top_p", "top_k", "min_p", "repeat_penalty", "seed"}
    settings = {*sampling, "max_tokens", "stop", "timeout", "streaming", "streaming_mode"}
    settings |= {"details", "refusal_block"}
    assert ChatEnergyGuard.model_fields.keys() >= {"guard", *settings}
