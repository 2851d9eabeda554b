from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_gguf import write_tiny_gguf
from tiny_models import byte_tokenizer, tiny_model

from energy_guard import Guard, load
from energy_guard.backends.transformers import speed
from energy_guard.request import Finished

PROGRAM = str(Path(sys.executable).with_name("energy-guard"))
LLAMA_CPP = {
    "one answer": {
        *("bare Llama.generate", "inside capture"),
        *("Guard.ask", "Guard.ask, cut off"),
    },
    "neurons": {"bare Llama.generate", "Guard.ask", "Guard.ask, every layer watched"},
    "keeping the rows": {"bare Llama.generate", "logits_all, logprobs=1"},
}
TRANSFORMERS = {
    "one answer": {
        *("bare generate", "inside capture", "streamed"),
        *("Guard.ask", "Guard.ask, cut off"),
    },
    "neurons": {"bare generate", "Guard.ask", "Guard.ask, every layer watched"},
    "8 answers at once": {"bare generate", "inside capture", "guarded"},
    "keeping the rows": {"bare generate", "output_logits=True", "output_scores=True"},
}


def bench(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "bench", *args], capture_output=True, text=True, timeout=280, check=False
    )


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("m") / "endless.gguf", eos_bias=-50.0)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny-llama")
    tiny_model("llama", max_position_embeddings=2048).save_pretrained(path)
    byte_tokenizer().save_pretrained(path)
    return path


def check_report(model: Path, comparisons: dict[str, set[str]], memory: set[str]) -> None:
    args = ("--model", model, "--pairs", "2", "--tokens", "16", "--n-threads", "1", "--json")
    done = bench(*args)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report) == {
        *("model", "backend", "pairs", "tokens", "seconds_a_token"),
        *("retry", "peak_memory_kib", "memory_tokens"),
    }
    assert (report["pairs"], report["tokens"]) == (2, 16)
    seconds = report["seconds_a_token"]
    assert {title: [set(one) for one in rounds] for title, rounds in seconds.items()} == {
        title: [ways, ways] for title, ways in comparisons.items()
    }
    assert all(s > 0 for rounds in seconds.values() for one in rounds for s in one.values())
    assert len(report["retry"]) == 2
    assert all(ratio > 0 for ratio in report["retry"])
    assert set(report["peak_memory_kib"]) == memory
    assert all(kib > 10_000 for kib in report["peak_memory_kib"].values())


@pytest.mark.slow
def test_json_has_every_way_of_every_round_and_nothing_else(gguf: Path) -> None:
    check_report(gguf, LLAMA_CPP, {"bare", "guarded"})


@pytest.mark.slow
def test_json_has_every_way_of_transformers(directory: Path) -> None:
    check_report(directory, TRANSFORMERS, {"bare", "guarded", "output_logits=True"})


@pytest.mark.slow
def test_all_ways_of_transformers_write_the_same_answers(directory: Path) -> None:
    backend = load(directory, n_threads=1)
    for comparison in (
        speed.one_answer(backend, lambda backend: Guard(backend).ask, 16),
        speed.batch(backend, 16),
        speed.keeping_rows(backend, 16),
    ):
        number = 8 if "8" in comparison.title else 1
        assert {run() for run in comparison.ways.values()} == {16 * number}
    for cut_off, reason in ((False, "eos"), (True, "length")):
        of_length = speed.of_length(backend, 16, cut_off)
        requests = speed.requests_of(8, 16)
        ends = [event for event in of_length.generate(requests) if isinstance(event, Finished)]
        assert {(len(end.trace), end.reason) for end in ends} == {(16, reason)}


@pytest.mark.parametrize(
    "args",
    [
        ("--pairs", "1"),
        ("--tokens", "3"),
        ("--model", "nowhere.gguf"),
        ("--pairs", "many"),
        ("--dtype", "float16"),
    ],
    ids=["one pair", "few tokens", "no file", "no number", "not llama.cpp's"],
)
def test_bad_input_is_refused(args: tuple[str, str]) -> None:
    done = bench(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
