"""What every backend must do, around somebody's own LLM. `make test-vllm`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from backend_contract import Ask, BackendContract

vllm = pytest.importorskip("vllm", reason="vLLM has an environment of its own: make test-vllm")

from energy_guard import load  # noqa: E402
from energy_guard.backends.locks import lock_of  # noqa: E402
from energy_guard.request import Request  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # vLLM's own
]


@pytest.fixture(scope="module")
def around(llm: Any) -> Any:
    return load(llm)


class TestVllm(BackendContract):
    half_way_s = 2.0

    @pytest.fixture
    def backend(self, around: Any) -> Iterator[Any]:
        yield around
        assert not around.engine.has_unfinished_requests()
        assert not lock_of(around.engine).locked

    @pytest.fixture
    def request_(self) -> Request:
        return Request.raw("the cat", max_tokens=8)

    @pytest.fixture
    def busy_ask(self, llm: Any) -> Ask:
        return load(llm, wait_s=0.05).generate

    def fresh(self, backend: Any) -> None:
        backend.engine.reset_prefix_cache()
