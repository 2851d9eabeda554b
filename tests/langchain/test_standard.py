"""LangChain's own suites; docs/langchain.md says what is expected to fail, and why.

ENERGY_GUARD_STANDARD_MODEL names a GGUF file that they run on in the place of the embedded model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_energy_guard import ChatEnergyGuard
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from energy_guard import Guard, Policy, load
from energy_guard.backends import Backend

OTHER = os.environ.get("ENERGY_GUARD_STANDARD_MODEL")
WORDS = "a 135 M model answers in words where it is free to"
SHOWING = Policy(detector="nll:max", warn=1.0, unscored="show")
"""The suites ask for jokes and poems, and are about LangChain's interface."""


class _Common:
    backend: Backend

    @property
    def chat_model_class(self) -> type[ChatEnergyGuard]:
        return ChatEnergyGuard

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"guard": Guard(self.backend, SHOWING), "repeat_penalty": 1.1}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return False


@pytest.fixture(scope="class")
def on_llama_cpp(request: pytest.FixtureRequest, demo: Backend) -> Iterator[None]:
    other = load(OTHER, n_ctx=2048, n_threads=1, n_threads_batch=1) if OTHER else None
    request.cls.backend = other or demo
    yield
    if other:
        other.engine.close()


@pytest.fixture(scope="class")
def on_transformers(request: pytest.FixtureRequest, demo_transformers: Backend) -> None:
    request.cls.backend = demo_transformers


@pytest.mark.usefixtures("on_llama_cpp")
class TestUnitLlamaCpp(_Common, ChatModelUnitTests):
    pass


@pytest.mark.usefixtures("on_transformers")
class TestUnitTransformers(_Common, ChatModelUnitTests):
    pass


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.usefixtures("on_llama_cpp")
class TestIntegrationLlamaCpp(_Common, ChatModelIntegrationTests):
    @pytest.mark.xfail(not OTHER, reason=WORDS)
    @pytest.mark.parametrize("model", [{}, {"output_version": "v1"}], indirect=True)
    def test_agent_loop(self, model: Any) -> None:
        super().test_agent_loop(model)


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.usefixtures("on_transformers")
class TestIntegrationTransformers(_Common, ChatModelIntegrationTests):
    @pytest.mark.xfail(reason=WORDS)
    @pytest.mark.parametrize("model", [{}, {"output_version": "v1"}], indirect=True)
    def test_agent_loop(self, model: Any) -> None:
        super().test_agent_loop(model)
