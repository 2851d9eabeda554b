"""The program with the transformers backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import byte_tokenizer, tiny_model
from transformers import (
    AutoModel,
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from energy_guard.backends.demo_model import demo_path
from energy_guard.cli import doctor as doctor_module
from energy_guard.report.printable import printable

torch.set_num_threads(1)

PROGRAM = str(Path(sys.executable).with_name("energy-guard"))
OFFLINE = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The program; nothing is imported anew for it."""
    out, err = (tmp_path_factory.mktemp("out") / name for name in ("stdout", "stderr"))
    command = [sys.executable, str(Path(__file__).parents[1] / "forked_program.py")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, env=OFFLINE) as server:

        def run_one(*args: str | Path) -> Done:
            for path in (out, err):
                path.write_text("")
            given = [str(arg) for arg in args]
            job = {"args": given, "stdout": str(out), "stderr": str(err)}
            server.stdin.write(json.dumps(job) + "\n")
            server.stdin.flush()
            status = int(server.stdout.readline())
            return subprocess.CompletedProcess(given, status, out.read_text(), err.read_text())

        yield run_one


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories with models, and with what is none."""
    root = tmp_path_factory.mktemp("models")
    good = tiny_model("llama")
    small = {"vocab_size": 260, "d_model": 16}
    t5 = T5Config(**small, d_ff=16, num_layers=1, num_heads=2, d_kv=8)
    bart = BartConfig(
        **small,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
    )
    for name, model in {
        "good": good,
        "headless": AutoModel.from_config(good.config),
        "other": tiny_model("llama", vocab_size=400, eos_token_id=None),
        "t5": T5ForConditionalGeneration(t5),
        "bart": BartForConditionalGeneration(bart),
        "cut": good,
        "config-only": good.config,
    }.items():
        model.save_pretrained(root / name)
        byte_tokenizer().save_pretrained(root / name)
    weights = root / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:20_000])
    good.save_pretrained(root / "no-tokenizer")
    (root / "empty").mkdir()
    return root


def asked(run: Run, *args: str | Path) -> dict[str, Any]:
    done = run("ask", "the cat", "--raw", "--max-tokens", "6", *args, "--json")
    assert done.returncode in (0, 3), done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1, "nothing else goes to standard output"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_directory_is_asked(run: Run, models: Path) -> None:
    result = asked(run, "--model", models / "good")
    assert (result["model"]["backend"], result["model"]["name"]) == ("transformers", "good")
    assert "".join(token["text"] for token in result["tokens"]) == result["answer"]
    for token in result["tokens"]:
        assert token["nll"] == pytest.approx(token["log_partition"] - token["token_logit"])


def test_a_gguf_file_is_asked(run: Run, tiny_path: Path) -> None:
    result = asked(run, "--model", tiny_path, "--backend", "transformers")
    assert (result["model"]["backend"], result["model"]["name"]) == ("transformers", "tiny")
    assert asked(run, "--model", tiny_path)["model"]["backend"] == "llama-cpp"


def test_device_and_precision_are_chosen(run: Run, models: Path) -> None:
    whole = asked(run, "--model", models / "good", "--device", "cpu", "--dtype", "float32")
    half = asked(run, "--model", models / "good", "--dtype", "bfloat16", "--n-threads", "1")
    assert whole == asked(run, "--model", models / "good")
    assert whole["model"]["fingerprint"] != half["model"]["fingerprint"]


def test_without_json_only_the_text_is_on_standard_output(run: Run, models: Path) -> None:
    policy = models / "lax.toml"
    policy.write_text('detector = "nll:max"\nwarn = -1\nabstain = 1e9\n')
    ended = ("--max-tokens", "40")  # it ends after 20
    args = ("--model", models / "good", "--policy", policy, *ended)
    done = run("ask", "the cat", "--raw", *args)
    assert done.returncode == 0
    assert done.stdout == printable(asked(run, *args)["text"]) + "\n"
    assert "warn" in done.stderr
    assert "Loading" not in done.stderr


@pytest.mark.parametrize("extra", [[], ["--fast"]])
def test_an_answer_is_scored(run: Run, models: Path, extra: list[str]) -> None:
    args = ("--prompt", "the cat", "--answer", "sat there", "--raw", "--locator", "whole", *extra)
    done = run("score", *args, "--model", models / "good", "--json")
    assert (done.returncode in (0, 3), done.stderr) == (True, "")
    result = json.loads(done.stdout)
    assert result["answer"] == "sat there"
    assert all(token["nll"] > 0 for token in result["tokens"])


def test_every_line_of_a_chat_is_answered(models: Path) -> None:
    args = ["chat", "--model", str(models / "good"), "--max-tokens", "4"]
    done = subprocess.run(
        [PROGRAM, *args], input="one\ntwo\n", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2
    assert done.stderr.startswith("good under guard")
    assert len([line for line in done.stderr.splitlines() if line[0] in "✓!✗?·"]) == 2


BAD_INPUT: dict[str, tuple[list[str], str, str]] = {
    # arguments · what is wrong · what to do
    "no such directory": (
        ["--model", "MODELS/none", "--backend", "transformers"],
        "there is no",
        "config.json",
    ),
    "hub id": (["--model", "nobody/nothing"], "nobody/nothing", "can be reached"),
    "configuration only": (["--model", "MODELS/config-only"], "no file named", "weights"),
    "empty": (
        ["--model", "MODELS/empty", "--backend", "transformers"],
        "model_type",
        "config.json",
    ),
    "no tokenizer": (["--model", "MODELS/no-tokenizer"], "the tokenizer of", "and tokenizer"),
    "other tokenizer": (
        ["--model", "MODELS/other"],
        "260 tokens and the model 400",
        "that the model was trained with",
    ),
    "no head": (["--model", "MODELS/headless"], "lm_head.weight", "AutoModelForCausalLM"),
    "encoder-decoder": (["--model", "MODELS/t5"], "T5 is an encoder-decoder", "decoder-only"),
    "its decoder": (["--model", "MODELS/bart"], "Bart is an encoder-decoder", "decoder-only"),
    "cut off": (["--model", "MODELS/cut"], "incomplete", "Give a directory"),
    "too long": (["x" * 300, "--raw", "--model", "MODELS/good"], "context holds 256", "Shorten"),
    "precision": (["--model", "MODELS/good", "--dtype", "float8"], "float8", "bfloat16"),
    "device": (["--model", "MODELS/good", "--device", "abacus"], "abacus", "There is: "),
    "not this device": (["--model", "MODELS/good", "--device", "cuda:99"], "cuda:99", "There is: "),
    "layers": (
        ["--model", "MODELS/good", "--n-gpu-layers", "3"],
        "--n-gpu-layers is an option of llama-cpp",
        "--backend llama-cpp",
    ),
    "llama.cpp's device": (
        ["--device", "cpu"],
        "--device is an option of transformers, and demo is loaded by llama-cpp",
        "--backend transformers",
    ),
    "llama.cpp's precision": (["--dtype", "float16"], "--dtype", "--backend transformers"),
    "directory for llama.cpp": (
        ["--model", "MODELS/good", "--backend", "llama-cpp"],
        "is a directory",
        "--backend transformers",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_with_its_reason(case: str, run: Run, models: Path) -> None:
    args, wrong, to_do = BAD_INPUT[case]
    question = [] if case == "too long" else ["Hi"]
    done = run("ask", *question, *(arg.replace("MODELS", str(models)) for arg in args))
    assert "Traceback" not in done.stderr
    assert wrong in done.stderr
    assert to_do in done.stderr
    assert (done.returncode, done.stdout) == (2, "")


def test_doctor_finds_the_rows_right(run: Run, models: Path) -> None:
    done = run("doctor", "--model", models / "good", "--device", "cpu", "--n-threads", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    for found in ("✓ torch", "✓ transformers", "· devices", "✓ one token", "✓ rows against"):
        assert found in done.stdout
    assert "✗" not in done.stdout
    assert done.stderr == ""


def test_doctor_says_in_json_what_is_wrong(run: Run, models: Path) -> None:
    done = run("doctor", "--model", models / "headless", "--json")
    findings = json.loads(done.stdout)
    assert done.returncode == 1
    wrong = [finding["detail"] for finding in findings if finding["ok"] is False]
    assert len(wrong) == 1
    assert "lm_head.weight" in wrong[0]
    assert done.stderr == ""


def test_doctor_does_not_build_llama_cpp_again_where_torch_crashes(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(command: list[str], **_: object) -> Done:
        return subprocess.CompletedProcess(command, -4, "", "")

    monkeypatch.setattr(doctor_module.subprocess, "run", crash)
    options = doctor_module.EngineOptions(str(models / "good"))
    last = list(doctor_module._examine(options))[-1]
    assert "transformers crashed (SIGILL)" in last.detail
    assert doctor_module.REBUILD not in last.detail


WITHOUT = """
import sys
sys.modules |= dict.fromkeys(sys.argv[1].split(","))
from energy_guard.cli import main
sys.argv = ["energy-guard", *sys.argv[2:]]
main()
"""
TORCH, LLAMA = "torch,transformers", "llama_cpp"


@pytest.mark.parametrize(
    ("absent", "args", "to_do"),
    [
        (LLAMA, ["ask", "Hi"], ["[llama-cpp]'", "which is installed: --backend transformers"]),
        (LLAMA, ["doctor"], ["[llama-cpp]'", "which is installed: --backend transformers"]),
        (
            TORCH,
            ["ask", "Hi", "--backend", "transformers"],
            ["[transformers]'", "which is installed: --backend llama-cpp", "for GGUF files"],
        ),
        (TORCH, ["ask", "Hi", "--model", "owner/name"], ["[transformers]'"]),
        (f"{TORCH},{LLAMA}", ["ask", "Hi"], ["[llama-cpp]'", "[transformers]'"]),
    ],
)
def test_an_engine_that_is_not_installed(absent: str, args: list[str], to_do: list[str]) -> None:
    command = [sys.executable, "-c", WITHOUT, absent, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=OFFLINE)
    said = done.stdout if args == ["doctor"] else done.stderr
    assert done.returncode == (1 if args == ["doctor"] else 2)
    assert [words for words in to_do if words not in said] == []
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("absent", "args"),
    [
        (LLAMA, ["ask", "Hi", "--raw", "--model", "GGUF", "--backend", "transformers"]),
        (TORCH, ["ask", "Hi", "--raw", "--model", "GGUF"]),
    ],
    ids=["transformers alone", "llama.cpp alone"],
)
def test_one_engine_is_enough(absent: str, args: list[str], tiny_path: Path) -> None:
    given = [str(tiny_path) if arg == "GGUF" else arg for arg in args]
    command = [sys.executable, "-c", WITHOUT, absent, *given, "--max-tokens", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=OFFLINE)
    assert done.returncode in (0, 3), done.stderr
    assert len(json.loads(done.stdout)["tokens"]) == 2


@pytest.mark.slow
@pytest.mark.model
def test_the_embedded_model(run: Run) -> None:
    args = ("--model", "demo", "--backend", "transformers", "--n-threads", "1")
    question = "What is the capital of France? Answer in one short sentence."
    done = run("ask", question, *args, "--max-tokens", "16", "--json")
    assert (done.returncode, done.stderr) == (0, ""), "no bars while it is unpacked"
    result = json.loads(done.stdout)
    assert "Paris" in result["text"]
    assert result["model"]["name"] == demo_path().with_suffix("").name
