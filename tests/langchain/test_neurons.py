"""A probe on neurons in LangChain: where its neurons are not watched, it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_energy_guard import ChatEnergyGuard
from langchain_energy_guard.guarded_call import GuardedCall
from langchain_energy_guard.watched_model import WatchedModel
from neuron_probes import probe_of

from energy_guard import Policy, load
from energy_guard.errors import ConfigError


@pytest.fixture
def detector(tiny_path: Path, tmp_path: Path) -> str:
    probe_of(load(tiny_path, n_ctx=512, n_threads=1).info).store(tmp_path / "probe.json")
    return f"neurons:{tmp_path / 'probe.json'}"


def test_a_handler_on_a_model_that_langchain_runs_takes_no_probe(
    tiny_path: Path, detector: str
) -> None:
    backend = load(tiny_path, n_ctx=512, n_threads=1)
    with pytest.raises(ConfigError, match="are not watched"):
        WatchedModel(backend, None, detector, "whole", None)


def test_a_chat_model_takes_a_probe(tiny_path: Path, detector: str) -> None:
    backend = load(tiny_path, n_ctx=512, n_threads=1)
    model = ChatEnergyGuard.of(backend, detector=detector, locator="whole", profile=None)
    here = GuardedCall(Policy(unscored="show")).begin()
    judge = here.judge_for(model.guard.judge, "chat", backend.info)
    assert judge.neurons == model.guard.judge.neurons is not None


def test_a_retry_with_other_input_damps_nothing(tiny_path: Path, detector: str) -> None:
    backend = load(tiny_path, n_ctx=512, n_threads=1)
    model = ChatEnergyGuard.of(backend, detector=detector, locator="whole", profile=None)
    policy = Policy(detector=model.guard.detector.name, abstain=0, retries=1, retry=("damp",))
    call = GuardedCall(policy)
    call.asks_more = True
    with pytest.raises(ConfigError, match="damps no neurons"):
        call.begin().judge_for(model.guard.judge, "chat", backend.info)
