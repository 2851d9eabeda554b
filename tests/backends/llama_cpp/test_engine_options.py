"""Options of an engine that move its numbers: recorded in a profile, noted where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_gguf import write_tiny_gguf

from energy_guard import Guard, Profile, Request, load
from energy_guard.backends.llama_cpp.load import supports_gpu_offload

SMALL = {"n_ctx": 256, "n_threads": 1}
REQUEST = Request.chat("the cat", max_tokens=8)


@pytest.fixture(params=["llama-cpp", "transformers"])
def backend(request: Any, tiny_path: Path) -> Iterator[Any]:
    torch.set_num_threads(1)
    loaded = load(tiny_path, request.param, **SMALL)
    yield loaded
    if request.param == "llama-cpp":
        loaded.engine.close()


def profile_of(backend: Any, engine: dict[str, Any] | None) -> Profile:
    """As it is read from a file."""
    made = Profile(
        model=backend.info.fingerprint,
        backend=backend.info.backend,
        mode="chat",
        detector="nll:max",
        locator="whole",
        engine=engine,
        calibration={"slope": 1, "intercept": 0, "n": 98, "n_wrong": 40, "lowest": 0, "highest": 9},
    )
    return Profile.model_validate_json(made.model_dump_json(by_alias=True))


def notes(backend: Any, engine: dict[str, Any] | None) -> list[str]:
    guard = Guard(backend, profile=profile_of(backend, engine))
    asked = guard.ask(REQUEST)
    assert guard.score(REQUEST, "the mat").notes == asked.notes
    return list(asked.notes)


def test_an_engine_as_it_was_is_not_noted(backend: Any) -> None:
    assert backend.info.engine
    assert notes(backend, dict(backend.info.engine)) == []


def test_a_profile_without_the_record_notes_nothing(backend: Any) -> None:
    assert notes(backend, None) == []


def test_every_option_that_differs_is_noted_with_both_values(backend: Any) -> None:
    now = dict(backend.info.engine)
    for name, value in now.items():
        then = "other" if isinstance(value, str) else 0.5
        assert notes(backend, {**now, name: then}) == [
            f"the profile was made with {name} {then!r}, and this is {value!r}"
        ]


def options(path: Path, backend: str, **changes: Any) -> dict[str, Any]:
    loaded = load(path, backend, **SMALL | changes)
    found = dict(loaded.info.engine)
    if backend == "llama-cpp":
        loaded.engine.close()
    return found


@pytest.mark.parametrize(
    ("backend", "changes"),
    [
        ("llama-cpp", {"type_k": 0}),
        ("llama-cpp", {"type_v": 0}),
        ("llama-cpp", {"flash_attn": True}),
        ("llama-cpp", {"rope_freq_base": 20_000.0}),
        ("llama-cpp", {"rope_freq_scale": 0.5}),
        ("transformers", {"dtype": "bfloat16"}),
        ("transformers", {"attn_implementation": "eager"}),
    ],
)
def test_what_moves_numbers_is_recorded(
    tiny_path: Path, backend: str, changes: dict[str, Any]
) -> None:
    plain, other = options(tiny_path, backend), options(tiny_path, backend, **changes)
    assert {name: other[name] for name in plain if other[name] != plain[name]} == changes


@pytest.mark.parametrize("changes", [{"n_ctx": 512}, {"n_threads": 2}, {"n_batch": 64}])
def test_what_moves_no_numbers_is_not(tiny_path: Path, changes: dict[str, Any]) -> None:
    assert options(tiny_path, "llama-cpp", **changes) == options(tiny_path, "llama-cpp")


def test_the_context_counts_where_positions_have_two_scales(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "long.gguf", original_context=512)
    within = options(path, "llama-cpp")
    assert options(path, "llama-cpp", n_ctx=512) == within
    assert within["n_ctx above 512"] is False
    assert options(path, "llama-cpp", n_ctx=1024) == {**within, "n_ctx above 512": True}


def test_layers_on_a_gpu_are_those_that_there_are(tiny_path: Path) -> None:
    """The tiny model has two, and its output; a build without a GPU puts none there."""
    there = 3 if supports_gpu_offload() else 0
    for asked in (-1, 99, 3):
        assert options(tiny_path, "llama-cpp", n_gpu_layers=asked)["n_gpu_layers"] == there


def test_a_model_that_is_moved_is_asked_again(tiny_path: Path) -> None:
    loaded: Any = load(tiny_path, "transformers", **SMALL)
    before = dict(loaded.info.engine)
    loaded.engine.set_attn_implementation("eager")
    assert loaded.info.engine == {**before, "attn_implementation": "eager"}
