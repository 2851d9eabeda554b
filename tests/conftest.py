from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# llama.cpp reads a prompt with a thread for each processor, and those of OpenMP wait for each other
# in loops: beside another process, a program that tests start took five times its processor time.
os.environ.setdefault("OMP_THREAD_LIMIT", "1")

sys.path.insert(0, str(Path(__file__).parent))  # helpers beside the tests: importlib mode adds none
pytest.register_assert_rewrite("backend_contract")

from tiny_gguf import write_tiny_gguf  # noqa: E402

from energy_guard import load  # noqa: E402
from energy_guard.backends import Backend  # noqa: E402
from energy_guard.backends.llama_cpp import LlamaCpp  # noqa: E402

# On CI the same cases every time; at a desk new ones, which may find something new. A busy machine
# takes its time for either.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long: one that comes last leaves a process idle meanwhile."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """No test goes on after a power cut, and thousands of answers are stored one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def demo() -> Iterator[LlamaCpp]:
    """The embedded model; one thread, as others would wait for each other on a busy machine."""
    backend = load("demo", n_ctx=1024, n_threads=1, n_threads_batch=1)
    yield backend
    backend.engine.close()


@pytest.fixture(scope="session")
def demo_transformers() -> Backend:
    """The embedded model in transformers: about twelve seconds to load."""
    return load("demo", "transformers", n_ctx=1024, n_threads=1)


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of half a megabyte that writes random printable text."""
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="session")
def batching(tiny_path: Path) -> Backend:
    """The tiny model in transformers, four answers at once."""
    return load(tiny_path, "transformers", n_ctx=512, batch_size=4)


@pytest.fixture
def batches(batching: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many answers the model wrote at once, each time it was asked."""
    sizes: list[int] = []
    generate = batching.engine.generate

    def counted(ids: Any, **options: Any) -> Any:
        sizes.append(len(ids))
        return generate(ids, **options)

    monkeypatch.setattr(batching.engine, "generate", counted)
    return sizes
