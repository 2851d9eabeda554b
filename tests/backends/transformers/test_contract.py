from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from backend_contract import Ask, BackendContract

from energy_guard import load
from energy_guard.backends.locks import lock_of
from energy_guard.backends.transformers import Transformers
from energy_guard.request import Request


@pytest.fixture(scope="module")
def loaded(tiny_path: Path) -> Any:
    torch.set_num_threads(1)
    return load(tiny_path, "transformers", n_ctx=256)


class TestTransformers(BackendContract):
    @pytest.fixture
    def backend(self, loaded: Any) -> Iterator[Any]:
        before = dict(vars(loaded.engine))
        random = torch.random.get_rng_state()
        yield loaded
        assert vars(loaded.engine) == before, "the user's model is left as found"
        assert not any(module._forward_pre_hooks for module in loaded.engine.modules())
        assert torch.equal(torch.random.get_rng_state(), random)
        assert not lock_of(loaded.engine).locked

    @pytest.fixture
    def request_(self) -> Request:
        return Request.raw("the cat", max_tokens=8)

    @pytest.fixture
    def busy_ask(self, backend: Any) -> Ask:
        return Transformers(backend.engine, backend.tokenizer, wait_s=0.05).generate
