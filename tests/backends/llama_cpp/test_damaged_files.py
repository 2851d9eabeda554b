"""Model files that end the process which loads them: an error, here and in the command line."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import pytest
from llama_cpp import Llama
from tiny_gguf import write_tiny_gguf

from energy_guard import load
from energy_guard.backends.gguf_file import read_facts
from energy_guard.backends.llama_cpp import tried
from energy_guard.errors import EngineError, ModelFileError

MUTATIONS = 300

PROGRAM = """
import os, sys
from pathlib import Path
from energy_guard import load
from energy_guard.errors import ModelFileError
for path in sys.argv[1:]:
    try:
        load(Path(path), n_ctx=64, n_threads=1).engine.close()
    except ModelFileError:
        print("refused", flush=True)
    else:
        print("loaded", flush=True)
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds what another one, or the person at this desk, has tried before."""
    monkeypatch.setattr(tried, "user_cache_path", lambda *_args, **_options: tmp_path / "cache")


def damaged(data: bytes, header: int, seed: int) -> bytes:
    """The file with some of its header overwritten, or without its end."""
    rng = random.Random(seed)
    out = bytearray(data)
    at = rng.randrange(4, header if rng.random() < 0.5 else min(header, 1200))
    match rng.choice(["byte", "bytes", "number", "cut", "zeros"]):
        case "byte":
            out[at] = rng.randrange(256)
        case "bytes":
            for _ in range(8):
                out[rng.randrange(4, header)] = rng.randrange(256)
        case "number":
            number = rng.choice([0, 2**63, 2**64 - 1, 2**32, 10**6])
            out[at : at + 8] = number.to_bytes(8, "little")
        case "cut":
            del out[rng.randrange(1, len(out)) :]
        case "zeros":
            out[at : at + 4] = bytes(4)
    return bytes(out)


@pytest.mark.slow
def test_damaged_files_are_refused_or_loaded_and_end_no_process(
    tiny_path: Path, tmp_path: Path
) -> None:
    data, header = tiny_path.read_bytes(), read_facts(tiny_path).header_bytes
    paths = []
    for seed in range(MUTATIONS):
        paths.append(tmp_path / f"{seed}.gguf")
        paths[-1].write_bytes(damaged(data, header, seed))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    said = done.stdout.split()
    assert done.returncode == 0, (len(said), done.stderr[-2000:])
    assert len(said) == MUTATIONS
    assert said.count("refused") > MUTATIONS / 2


def test_no_layers_at_all_are_refused(tiny_path: Path, tmp_path: Path) -> None:
    data = tiny_path.read_bytes()
    key = b"llama.block_count"
    at = data.index(key) + len(key) + 4
    path = tmp_path / "none.gguf"
    path.write_bytes(data[:at] + bytes(4) + data[at + 4 :])
    with pytest.raises(ModelFileError, match="GGML_ASSERT"):
        load(path)


def write_without_bytes(path: Path) -> Path:
    """A sentencepiece vocabulary of a few words, without tokens for bytes."""
    write_tiny_gguf(path.with_suffix(".bytes"))
    reader = gguf.GGUFReader(path.with_suffix(".bytes"))
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        name = field.name
        if name.startswith(("GGUF.", "general.architecture", "tokenizer.")):
            continue
        writer.add_key_value(name, field.contents(), field.types[0])
    tokens = ["<unk>", "<s>", "</s>", "▁", "a", "b", *(f"w{i}" for i in range(254))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([2, 3, 3, *[1] * (len(tokens) - 3)])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_vocabulary_without_tokens_for_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="tokens for single bytes"):
        load(write_without_bytes(tmp_path / "words.gguf"))


def test_the_doctor_says_that_it_is_the_file(tmp_path: Path) -> None:
    path = write_without_bytes(tmp_path / "words.gguf")
    command = [sys.executable, "-m", "energy_guard.cli", "doctor", "--model", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 1
    assert "tokens for single bytes" in done.stdout
    assert "Build it again" not in done.stdout


def test_a_file_is_tried_once(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "copy.gguf"
    path.write_bytes(tiny_path.read_bytes())
    tried.check_loads(path)
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: pytest.fail("tried again"))
    tried.check_loads(path)


def test_a_build_for_another_processor_is_not_the_files_fault(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed: Any = subprocess.CompletedProcess([], -4, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: crashed)
    with pytest.raises(EngineError, match="GGML_NATIVE=OFF"):
        tried.check_loads(tiny_path)


def test_ones_own_llama_with_a_vocabulary_that_ends_the_process_is_refused(tmp_path: Path) -> None:
    path = write_without_bytes(tmp_path / "words.gguf")
    llm = Llama(str(path), n_ctx=64, n_threads=1, verbose=False)
    try:
        with pytest.raises(ModelFileError, match="tokens for single bytes"):
            load(llm)
    finally:
        llm.close()


def test_ones_own_llama_whose_file_is_gone_is_refused(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "gone.gguf")
    llm = Llama(str(path), n_ctx=64, n_threads=1, verbose=False)
    path.unlink()
    try:
        with pytest.raises(ModelFileError, match="there is no model file"):
            load(llm)
    finally:
        llm.close()
