from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_gguf import write_tiny_gguf

PROGRAM = str(Path(sys.executable).with_name("energy-guard"))
WAYS = {"bare Llama.generate", "inside capture", "Guard.ask"}
OLD_WAY = {"bare Llama.generate", "logits_all, logprobs=1"}


def bench(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "bench", *args], capture_output=True, text=True, timeout=200, check=False
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("m") / "endless.gguf", eos_bias=-50.0)


@pytest.mark.slow
def test_json_has_every_way_of_every_round_and_nothing_else(model: Path) -> None:
    args = ("--model", model, "--pairs", "2", "--tokens", "16", "--n-threads", "1", "--json")
    done = bench(*args)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report) == {
        "model",
        "backend",
        "pairs",
        "tokens",
        "seconds_a_token",
        "retry",
        "peak_memory_kib",
        "memory_tokens",
    }
    assert (report["backend"], report["pairs"], report["tokens"]) == ("llama-cpp", 2, 16)
    this_package, old_way = report["seconds_a_token"].values()
    assert [set(one) for one in this_package] == [WAYS, WAYS]
    assert [set(one) for one in old_way] == [OLD_WAY, OLD_WAY]
    assert all(seconds > 0 for one in this_package + old_way for seconds in one.values())
    assert len(report["retry"]) == 2
    assert all(ratio > 0 for ratio in report["retry"])
    assert set(report["peak_memory_kib"]) == {"bare", "guarded"}
    assert all(kib > 10_000 for kib in report["peak_memory_kib"].values())


@pytest.mark.parametrize(
    "args",
    [("--pairs", "1"), ("--tokens", "3"), ("--model", "nowhere.gguf"), ("--pairs", "many")],
    ids=["one pair", "few tokens", "no file", "no number"],
)
def test_bad_input_is_refused(args: tuple[str, str]) -> None:
    done = bench(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
