from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from tiny_gguf import write_tiny_gguf

from energy_guard.backends.demo_model import demo_path
from energy_guard.cli import doctor as doctor_module
from energy_guard.trace import SIGNALS

PROGRAM = str(Path(sys.executable).with_name("energy-guard"))
QUESTION = "What is the capital of France? Answer in one short sentence."
FULL = Path("/dev/full")


def run(*args: str | bytes | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([PROGRAM, *args], stderr=subprocess.PIPE, timeout=120, **options)


def run_json(*args: str | Path) -> dict[str, Any]:
    done = run(*args, "--json")
    assert done.returncode in (0, 3), done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 1, "nothing else goes to standard output"
    found: dict[str, Any] = json.loads(lines[0])
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that never ends by itself."""
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "endless.gguf", eos_bias=-50.0)


@pytest.fixture(scope="module")
def ending(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that ends its answer to "Hi" after ten tokens."""
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "ending.gguf", eos_bias=1.0)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Every file that the table of bad input names."""
    (tmp_path / "text.gguf").write_text("not a model")
    (tmp_path / "empty.gguf").write_bytes(b"")
    with demo_path().open("rb") as file:
        (tmp_path / "cut.gguf").write_bytes(file.read(2**20))
    (tmp_path / "folder").mkdir()
    (tmp_path / "key.toml").write_text('detector = "nll:max"\nwarning = 1\n')
    (tmp_path / "other.toml").write_text('detector = "nll:max"\nmodel = "00ff"\n')
    (tmp_path / "strict.toml").write_text('detector = "nll:max"\nwarn = -2\nabstain = -1\n')
    profile: dict[str, Any] = {
        "model": "00ff",
        "backend": "llama-cpp",
        "mode": "chat",
        "detector": "nll:max",
        "locator": "automatic",
        "calibration": {
            "slope": 1.0,
            "intercept": 0.0,
            "n": 98,
            "n_wrong": 40,
            "lowest": 0.0,
            "highest": 5.0,
        },
    }
    (tmp_path / "other.json").write_text(json.dumps(profile))
    (tmp_path / "key.json").write_text(json.dumps(profile | {"colour": "red"}))
    return tmp_path


@pytest.fixture(scope="module")
def asked() -> dict[str, Any]:
    return run_json("ask", QUESTION, "--max-tokens", "96", "--n-ctx", "256")


@pytest.mark.model
def test_json_has_the_keys_of_the_contract(asked: dict[str, Any]) -> None:
    contract = """schema text answer verdict reason p_wrong p_wrong_from calibrated shown score
    detector span attempts finish_reason prompt_tokens tokens model""".split()
    assert set(contract) <= set(asked)
    assert (asked["schema"], asked["attempts"]) == (1, 1)
    assert 0 < asked["p_wrong"] < 1, "the profile that is shipped"
    assert (asked["p_wrong_from"], asked["calibrated"]) == ("profile", True)
    assert asked["shown"] == (asked["text"] == asked["answer"])
    assert set(asked["model"]) == {"name", "fingerprint", "backend"}
    assert asked["prompt_tokens"] > 10
    numbers = {"id", "text", "log_partition", *SIGNALS}
    assert all(set(token) == numbers for token in asked["tokens"])


@pytest.mark.model
def test_json_tokens_join_to_the_answer_and_the_span_points_into_them(
    asked: dict[str, Any],
) -> None:
    assert "".join(token["text"] for token in asked["tokens"]) == asked["answer"] != ""
    span = asked["span"]
    assert 0 <= span["start"] < span["end"] <= len(asked["tokens"])
    covered = "".join(token["text"] for token in asked["tokens"][span["start"] : span["end"]])
    assert span["text"] in covered
    assert span["text"] in asked["answer"]


@pytest.mark.model
def test_json_numbers_fit_each_other(asked: dict[str, Any]) -> None:
    tokens = asked["tokens"]
    for token, after in pairwise(tokens):
        assert token["nll"] == pytest.approx(token["log_partition"] - token["token_logit"])
        assert token["marginal_energy"] == pytest.approx(-after["log_partition"])
        energies = token["logit_energy"] - token["marginal_energy"]
        assert token["spilled_energy"] == pytest.approx(energies)


def test_an_abstention_exits_with_3_and_shows_no_answer(ending: Path, files: Path) -> None:
    policy = files / "strict.toml"
    args = ("ask", "Hi", "--model", ending, "--max-tokens", "40", "--policy", policy, "--json")
    done = run(*args)
    assert done.returncode == 3
    result = json.loads(done.stdout)
    assert result["verdict"] == "abstain"
    assert result["answer"]
    assert result["answer"] not in result["text"]
    assert not result["shown"]
    assert (result["p_wrong"], result["p_wrong_from"], result["calibrated"]) == (None, None, False)


def test_without_json_only_the_text_goes_to_standard_output(ending: Path, files: Path) -> None:
    lax = files / "lax.toml"
    lax.write_text('detector = "nll:max"\nwarn = -1\n')
    args = ("ask", "Hi", "--model", ending, "--max-tokens", "40", "--policy", lax)
    done = run(*args, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert done.stdout.decode() == run_json(*args)["text"] + "\n"
    assert b"warn" in done.stderr
    assert b"uncalibrated" in done.stderr
    assert b"Traceback" not in done.stderr, "a console that knows ASCII only is enough"


BAD_INPUT: dict[str, tuple[list[str | bytes], str]] = {
    "missing file": (["Hi", "--model", "FILES/nowhere.gguf"], "nowhere.gguf"),
    "no GGUF": (["Hi", "--model", "FILES/text.gguf"], "not a GGUF file"),
    "empty file": (["Hi", "--model", "FILES/empty.gguf"], "empty.gguf"),
    "cut off": (["Hi", "--model", "FILES/cut.gguf"], "cut.gguf"),
    "directory": (["Hi", "--model", "FILES/folder"], "directory"),
    "unknown backend": (["Hi", "--backend", "abacus"], "abacus"),
    "empty prompt": ([""], "empty"),
    "blank prompt": (["  \n"], "empty"),
    "not UTF-8": ([b"caf\xe9"], "UTF-8"),
    "stop not UTF-8": (["Hi", "--stop", b"\xff"], "UTF-8"),
    "empty stop": (["Hi", "--stop", ""], "stop"),
    "no tokens": (["Hi", "--max-tokens", "0"], "max_tokens is 0"),
    "negative tokens": (["Hi", "--max-tokens", "-1"], "max_tokens is -1"),
    "no number": (["Hi", "--max-tokens", "many"], "--max-tokens"),
    "negative temperature": (["Hi", "--temperature", "-1"], "temperature"),
    "no temperature": (["Hi", "--temperature", "nan"], "temperature"),
    "no context": (["Hi", "--n-ctx", "0"], "n-ctx"),
    "no such option": (["Hi", "--colour"], "--colour"),
    "too long": (["x" * 300, "--raw", "--n-ctx", "256", "--model", "MODEL"], "256"),
    "detector": (["Hi", "--model", "MODEL", "--detector", "delta:max"], "delta"),
    "locator": (["Hi", "--model", "MODEL", "--locator", "middle"], "automatic, whole"),
    "policy missing": (["Hi", "--model", "MODEL", "--policy", "FILES/no.toml"], "no.toml"),
    "policy key": (["Hi", "--model", "MODEL", "--policy", "FILES/key.toml"], "warning: no such"),
    "policy model": (["Hi", "--model", "MODEL", "--policy", "FILES/other.toml"], "00ff"),
    "profile key": (["Hi", "--model", "MODEL", "--profile", "FILES/key.json"], "colour: no such"),
    "profile model": (["Hi", "--model", "MODEL", "--profile", "FILES/other.json"], "00ff"),
}


def refused(done: subprocess.CompletedProcess[bytes], named: str) -> None:
    stderr = done.stderr.decode(errors="replace")
    assert "Traceback" not in stderr
    assert named in stderr
    assert done.returncode == 2
    assert done.stdout == b""


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_with_its_reason(case: str, model: Path, files: Path) -> None:
    args, named = BAD_INPUT[case]
    places = {"FILES": str(files), "MODEL": str(model)}
    filled: list[str | bytes] = []
    for arg in args:
        if isinstance(arg, str):
            for place, path in places.items():
                arg = arg.replace(place, path)
        filled.append(arg)
    refused(run("ask", *filled), named)


@pytest.mark.parametrize(("given", "named"), [(b"caf\xe9", "UTF-8"), (b"", "empty")])
def test_bad_standard_input_is_refused(given: bytes, named: str) -> None:
    refused(run("ask", "-", input=given), named)


def test_a_question_from_standard_input(model: Path) -> None:
    args = ("ask", "-", "--raw", "--model", model, "--max-tokens", "2", "--json")
    done = run(*args, input="日本".encode())
    assert json.loads(done.stdout)["prompt_tokens"] == 6, "one token a byte"


@pytest.mark.parametrize("extra", [["--json"], []])
def test_a_closed_pipe_is_quiet(model: Path, extra: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        args = ("ask", "Hi", "--model", model, "--max-tokens", "3", "--n-ctx", "256", *extra)
        done = run(*args, stdout=write)
    finally:
        os.close(write)
    assert done.stderr == b""
    assert done.returncode >= 0


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("extra", [["--json"], []])
def test_a_full_disk_is_a_failure_with_its_reason(model: Path, extra: list[str]) -> None:
    with FULL.open("w") as full:
        done = run("ask", "Hi", "--model", model, "--max-tokens", "3", *extra, stdout=full)
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_raw_sends_the_text_as_it_is(model: Path) -> None:
    args = ("ask", "abc", "--model", model, "--max-tokens", "2")
    assert run_json(*args, "--raw")["prompt_tokens"] == 3
    assert run_json(*args)["prompt_tokens"] > 3


def test_stop_ends_the_answer_before_it(model: Path) -> None:
    args = ("ask", "abc", "--raw", "--model", model, "--max-tokens", "12")
    whole = run_json(*args)
    assert whole["finish_reason"] == "length"
    stop = whole["answer"][4:7]
    cut = run_json(*args, "--stop", stop, "--stop", "\x01")
    assert cut["finish_reason"] == "stop"
    assert cut["answer"] == whole["answer"][: whole["answer"].index(stop)]


def test_a_seed_makes_sampling_repeatable(model: Path) -> None:
    args = ("ask", "abc", "--raw", "--model", model, "--max-tokens", "12", "--temperature", "2")
    first, again, other = (run_json(*args, "--seed", seed) for seed in ("1", "1", "2"))
    assert first == again
    assert first["answer"] != other["answer"]


@pytest.mark.model
def test_doctor_finds_the_rows_right() -> None:
    done = run("doctor", "--n-ctx", "256")
    output = done.stdout.decode()
    assert done.returncode == 0, output + done.stderr.decode()
    assert "✓ rows against a second computation" in output
    assert "✓ one token" in output
    assert "✗" not in output


def test_doctor_says_in_json_what_is_wrong(files: Path) -> None:
    done = run("doctor", "--model", files / "cut.gguf", "--json")
    findings = json.loads(done.stdout)
    assert done.returncode == 1
    assert any(finding["ok"] is False and "cut.gguf" in finding["detail"] for finding in findings)
    assert b"Traceback" not in done.stderr


def test_doctor_says_how_to_build_again_where_the_engine_crashes(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, -11, "", "")

    def crash_too(*_: object) -> None:
        pytest.fail("what crashed in the child is not tried in this process")

    monkeypatch.setattr(doctor_module.subprocess, "run", crash)
    monkeypatch.setattr(doctor_module.EngineOptions, "open", crash_too)
    with pytest.raises(typer.Exit) as caught:
        doctor_module.doctor(str(model))
    assert caught.value.exit_code == 1
    output = capsys.readouterr().out
    assert "SIGSEGV" in output
    assert doctor_module.REBUILD in output


def test_doctor_says_which_assertion_ended_the_engine_and_not_to_build_it_again(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def abort(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        said = "loading\nllama-vocab.cpp:1: GGML_ASSERT(id != -1) failed\n"
        return subprocess.CompletedProcess(command, -6, "", said)

    monkeypatch.setattr(doctor_module.subprocess, "run", abort)
    with pytest.raises(typer.Exit):
        doctor_module.doctor(str(model))
    output = capsys.readouterr().out
    assert "GGML_ASSERT(id != -1) failed" in output
    assert doctor_module.REBUILD not in output


@pytest.mark.model
def test_demo_warns_and_abstains_by_the_rules_of_the_shipped_profile() -> None:
    done = run("demo")
    output = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert "P(wrong), calibrated" in output
    assert "uncalibrated" not in output
    summary = output[output.rindex("Summary") :]
    assert summary.count("! warn") >= 2
    assert summary.count("✗ abstain") >= 1
    assert len(summary.splitlines()) >= 10


def test_commands_are_listed() -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in ("demo", "ask", "chat", "doctor"):
        assert command in done.stdout.decode()
