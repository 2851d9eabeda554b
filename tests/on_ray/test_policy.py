"""A profile for a policy that asks again, made by workers: the files of one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_gguf import write_tiny_gguf

from energy_guard import Guard, load
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import in_chat, request_of

pytest.importorskip("ray", reason="the extra ray is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PROGRAM = str(Path(sys.executable).with_name("energy-guard"))
RULES = 'detector = "nll:max"\non = "p_wrong"\nabstain = 0.5\nretries = 1\n'


def test_workers_ask_again_as_one_process_does(tmp_path: Path) -> None:
    """Gold answers to half of the questions are what the model says: else it were never right."""
    model = write_tiny_gguf(tmp_path / "tiny.gguf", eos_bias=1.5)  # short answers, none cut off
    rows = [Question(f"{n}", "t", f"Which town, {n}?", ("Oslo",)) for n in range(180)]
    guard = Guard(load(model, n_ctx=1024, n_threads=1), locator="whole", profile=None)
    said = guard.ask_many([request_of(row, in_chat()["free"]) for row in rows])
    with (tmp_path / "d.jsonl").open("w", encoding="utf-8") as file:
        for row, result in zip(rows, said, strict=True):
            gold = result.trace.text if int(row.id) % 2 else "Oslo"
            told = {"id": row.id, "task": row.task, "question": row.question, "answers": [gold]}
            file.write(f"{json.dumps(told)}\n")
    (tmp_path / "policy.toml").write_text(RULES)
    for name, spread in (("one", []), ("two", ["--on", "ray", "--workers", "2"])):
        asking = ["calibrate", "d.jsonl", "--model", str(model), "--n-ctx", "1024"]
        asking += ["--n-threads", "1", "--policy", "policy.toml", "--detector", "nll:max"]
        done = subprocess.run(
            [PROGRAM, *asking, "--locator", "whole", "--out", f"{name}.json", *spread],
            cwd=tmp_path, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        if "Ray does not start" in done.stderr:
            pytest.skip(done.stderr)  # its node has 30 seconds, which not every machine keeps
        assert done.returncode == 0, done.stderr
    for kind in ("answers.jsonl", "attempts.jsonl"):
        one, two = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "two"))
        assert one == two and one
    attempts = [json.loads(line) for line in one.splitlines()[1:]]
    assert any(len(line["attempts"]) == 2 for line in attempts), attempts[0].keys()
    profiles = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two")]
    assert profiles[0] == profiles[1]
