"""One engine of vLLM for all tests of this folder: it takes a while to start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_CI_ENV": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}
SMALL = {
    "dtype": "float32",
    "enforce_eager": True,
    "kv_cache_memory_bytes": 64 * 2**20,
    "max_model_len": 257,
    "max_num_seqs": 8,
    "distributed_executor_backend": "uni",
}


if find_spec("vllm") is not None:
    os.environ.update(ENVIRONMENT)  # vLLM reads them when it is imported


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """What an engine of the tests is started with."""
    return SMALL


@pytest.fixture(scope="session")
def model() -> Any:
    from tiny_models import tiny_model

    return tiny_model("llama", head_dim=64, max_position_embeddings=512)


@pytest.fixture(scope="session")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_models import byte_tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llm(folder: Path) -> Iterator[Any]:
    """Somebody's own. Prompts are read in parts of 32 tokens, and kept for others."""
    import vllm

    from energy_guard.backends.vllm import ENGINE_ARGUMENTS

    options = SMALL | {"enable_prefix_caching": True, "max_num_batched_tokens": 32}
    yield vllm.LLM(str(folder), **options, **ENGINE_ARGUMENTS)
