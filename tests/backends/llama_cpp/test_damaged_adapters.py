"""Adapters that would end the process: an error instead."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_gguf import WIDTH, write_tiny_gguf, write_tiny_lora

from energy_guard import load
from energy_guard.backends.gguf_file import read_facts
from energy_guard.backends.llama_cpp import load as loading
from energy_guard.backends.llama_cpp import tried
from energy_guard.errors import ModelFileError

MUTATIONS = 60

PROGRAM = """
import gc, sys
from pathlib import Path
from energy_guard import Guard, load
from energy_guard.errors import ModelFileError
model, *adapters = sys.argv[1:]
for adapter in adapters:
    try:
        backend = load(Path(model), n_ctx=64, n_threads=1, lora_path=adapter)
    except ModelFileError:
        print("refused", flush=True)
    else:
        Guard(backend, profile=None).ask("Why?", max_tokens=2)
        backend.engine.close()
        print("loaded", flush=True)
    gc.collect()
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another one, or the person at this desk, has tried before."""
    monkeypatch.setattr(tried, "user_cache_path", lambda *_args, **_options: tmp_path / "cache")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_tiny_lora(tmp_path / "lora.gguf", shape_a=(2, WIDTH), shape_b=(WIDTH, 2))


def mutated(data: bytes, header: int, seed: int) -> bytes:
    """An adapter with something in its header changed that may leave it readable."""
    rng = random.Random(seed)
    out = bytearray(data)
    at = rng.randrange(24, header)
    match rng.choice(["bit", "byte", "number", "cut"]):
        case "bit":
            out[at] ^= 1 << rng.randrange(8)
        case "byte":
            out[at] = rng.randrange(256)
        case "number":
            number = rng.choice([0, 1, 3, 2**31, 2**63, 2**64 - 1])
            out[at : at + 8] = struct.pack("<Q", number)
        case "cut":
            del out[rng.randrange(header, len(out)) :]
    return bytes(out)


@pytest.mark.slow
def test_damaged_adapters_are_refused_or_loaded_and_end_no_process(
    tiny_path: Path, tmp_path: Path, adapter: Path
) -> None:
    data, header = adapter.read_bytes(), read_facts(adapter).header_bytes
    paths = [adapter]
    for seed in range(MUTATIONS):
        paths.append(tmp_path / f"{seed}.gguf")
        paths[-1].write_bytes(mutated(data, header, seed))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tiny_path), *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    said = done.stdout.split()
    assert done.returncode == 0, (len(said), done.stderr[-2000:])
    assert len(said) == MUTATIONS + 1
    assert said[0] == "loaded"
    assert said.count("refused") > MUTATIONS / 2


def test_tensors_that_cannot_be_multiplied_are_refused(tiny_path: Path, tmp_path: Path) -> None:
    """llama.cpp loads such an adapter, and ends the process at the first token."""
    deep = write_tiny_lora(tmp_path / "deep.gguf", shape_a=(2, 2, WIDTH), shape_b=(2, WIDTH, 2))
    with pytest.raises(ModelFileError, match=r"applies .*deep\.gguf to .*: GGML_ASSERT"):
        load(tiny_path, lora_path=str(deep))


def test_an_adapter_for_another_model_is_refused_in_the_words_of_llama_cpp(
    tiny_path: Path, tmp_path: Path
) -> None:
    other = write_tiny_lora(tmp_path / "x.gguf", shape_a=(2, WIDTH), shape_b=(2 * WIDTH, 2))
    with pytest.raises(ModelFileError, match=r"cannot apply the adapter .*incorrect shape"):
        load(tiny_path, lora_path=str(other))


@pytest.mark.parametrize("damage", ["magic", "length", "end"])
def test_an_adapter_whose_header_cannot_be_read_never_reaches_the_engine(
    tiny_path: Path, adapter: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = adapter.read_bytes()
    damaged = {
        "magic": b"GGML" + data[4:],
        "length": data[:24] + struct.pack("<Q", 2**63) + data[32:],
        "end": data[: read_facts(adapter).header_bytes // 2],
    }
    adapter.write_bytes(damaged[damage])
    monkeypatch.setattr(loading, "check_loads", lambda *_: pytest.fail("it was tried"))
    monkeypatch.setattr(loading, "_made", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(ModelFileError, match=r"not a GGUF file|header cannot be read"):
        load(tiny_path, lora_path=str(adapter))


def test_an_adapter_is_tried_once_with_each_model(
    tiny_path: Path, tmp_path: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_tiny_gguf(tmp_path / "other.gguf", seed=1)
    load(tiny_path, n_ctx=64, lora_path=str(adapter)).engine.close()
    tried.check_loads(other)
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: pytest.fail("tried again"))
    load(tiny_path, n_ctx=64, lora_path=str(adapter)).engine.close()
    with pytest.raises(pytest.fail.Exception, match="tried again"):
        load(other, n_ctx=64, lora_path=str(adapter))
