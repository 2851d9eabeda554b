"""A context that the machine's memory cannot hold is refused before anything is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from energy_guard import load
from energy_guard.backends.gguf_file import GgufFacts
from energy_guard.backends.llama_cpp import load as loading
from energy_guard.backends.llama_cpp import memory
from energy_guard.backends.llama_cpp.memory import check_fits, machine_memory
from energy_guard.errors import ConfigError

GIB = 2**30
FACTS = GgufFacts(0, 2048, None, layers=4, cached=(256, 256))
"""1,024 bytes a token."""


@pytest.fixture(autouse=True)
def _one_gibibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: GIB)


def refused(facts: GgufFacts = FACTS, *, gpu: bool = False, **options: Any) -> bool:
    try:
        check_fits(facts, options, gpu=gpu)
    except ConfigError:
        return True
    return False


def test_a_context_is_refused_from_the_first_token_that_does_not_fit() -> None:
    assert not refused(n_ctx=2**20)
    assert refused(n_ctx=2**20 + 1)


def test_the_error_names_what_is_needed_and_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"n_ctx 9000000 needs 9\.2 GB .* has 1\.1 GB"):
        check_fits(FACTS, {"n_ctx": 9_000_000}, gpu=False)


def test_a_context_of_0_is_the_one_that_the_model_was_trained_with() -> None:
    assert not refused(n_ctx=0)
    assert refused(GgufFacts(0, 2**20 + 1, None, 4, (256, 256)), n_ctx=0)


@pytest.mark.parametrize(
    ("kind", "tokens"), [(0, 2**19), (1, 2**20), (8, 2**21 * 16 // 17), (2, 2**21 * 16 // 9)]
)
def test_the_type_of_the_numbers_counts(kind: int, tokens: int) -> None:
    kinds = {"type_k": kind, "type_v": kind}
    assert not refused(n_ctx=tokens, **kinds)
    assert refused(n_ctx=tokens + 1, **kinds)


def test_layers_on_a_gpu_take_none_of_the_memory() -> None:
    assert not refused(gpu=True, n_ctx=2**40, n_gpu_layers=-1)
    assert not refused(gpu=True, n_ctx=2**21, n_gpu_layers=2)
    assert refused(gpu=True, n_ctx=2**21 + 1, n_gpu_layers=2)
    assert refused(gpu=True, n_ctx=2**21, n_gpu_layers=-1, offload_kqv=False)
    assert refused(gpu=False, n_ctx=2**21, n_gpu_layers=-1)


def test_nothing_is_said_against_what_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not refused(GgufFacts(0, None, None, 4, None), n_ctx=2**40)
    assert not refused(n_ctx=2**40, swa_full=False)
    monkeypatch.setattr(memory, "machine_memory", lambda: None)
    assert not refused(n_ctx=2**40)


def test_a_model_is_not_loaded_with_such_a_context(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_made", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(ConfigError, match="GB of memory"):
        load(tiny_path, n_ctx=50_000_000)


def test_a_system_that_does_not_tell_its_memory_has_none_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = machine_memory()
    assert known is None or known > 2**28
    monkeypatch.setattr(os, "sysconf", lambda _: -1, raising=False)
    assert machine_memory() is None
    monkeypatch.delattr(os, "sysconf")
    assert machine_memory() is None
