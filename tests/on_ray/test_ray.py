"""Ray itself, on this machine: workers and commands are killed, and the files are the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
from by_question import ByQuestion

from energy_guard import Guard, load
from energy_guard.errors import ConfigError, EngineError
from energy_guard.log import TraceLog
from energy_guard.questions.answered import read_answers
from energy_guard.questions.ask import collect
from energy_guard.questions.rows import Question

pytest.importorskip("ray", reason="the extra ray is not installed")

from energy_guard.on_ray.cluster import Share, connected
from energy_guard.on_ray.fleet import Fleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def ray_starts() -> None:
    """Its node has 30 seconds, fixed in Ray's source, which not every machine keeps."""
    try:
        with connected("ray", Share(workers=1)):
            pass
    except EngineError as error:
        pytest.skip(str(error))


PROGRAM = str(Path(sys.executable).with_name("energy-guard"))


def test_workers_that_die_are_replaced_and_no_question_is_asked_three_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers on any machine: they neither hang nor lose a question."""
    names = [f"{n}" for n in range(24)]
    rows = [Question(n, "towns", f"Which town, {n}?", ("Oslo",)) for n in names]
    fatal = [
        Question("once", "towns", "Which town once?", ("Oslo",)),
        Question("always", "towns", "Which town always?", ("Oslo",)),
    ]
    asked = [*rows[:5], *fatal, *rows[5:]]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # for processes that Ray starts
    (tmp_path / "there").mkdir()
    open_there = partial(ByQuestion.noting, tmp_path / "there")
    share = Share(workers=2)
    with (
        connected("ray", share) as workers,
        Fleet.started(open_there, workers=workers, share=share, tell=print) as fleet,
    ):
        guard = Guard(fleet.backend, locator="whole", profile=None)
        path = tmp_path / "spread.jsonl"
        with pytest.raises(EngineError, match=r"1 of 26 questions failed.*process ended"):
            collect(guard, asked, path=path, ask=fleet.ask)
        with pytest.raises(ConfigError, match="loaded by workers"):
            guard.ask("Which town?")
    [failed] = (tmp_path / "spread.failed.jsonl").read_text().splitlines()
    assert json.loads(failed)["id"] == "always"
    counts = Counter((tmp_path / "there" / "asked").read_text().splitlines())
    assert counts.pop("Which town once?") == counts.pop("Which town always?") == 2
    assert max(counts.values()) == 1
    answered = [row for row in asked if row.id != "always"]
    with (tmp_path / "asked").open("a") as file:
        file.write("Which town once?\n")  # here it is not to end the process
    here = Guard(ByQuestion.noting(tmp_path), locator="whole", profile=None)
    alone = collect(here, answered, path=tmp_path / "alone.jsonl")
    assert {a.id: a.to_dict() for a in read_answers(path)[1]} == {a.id: a.to_dict() for a in alone}


def run(*command: object, cwd: Path) -> dict[str, Any]:
    done = subprocess.run(
        [PROGRAM, *map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_command_that_is_killed_goes_on_to_the_same_file(tmp_path: Path, tiny_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text(
        "\n".join(
            json.dumps({"id": f"{n}", "task": "t", "question": f"{n}?", "answers": ["Oslo"]})
            for n in range(120)
        )
    )
    asking: list[object] = ["eval", data, "--model", tiny_path, "--n-ctx", 2048, "--n-threads", 1]
    spread = [*asking, "--out", "spread", "--on", "ray", "--workers", 2, "--json"]
    written = tmp_path / "spread" / "answers.jsonl"
    process = subprocess.Popen(
        [PROGRAM, *map(str, spread)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not written.exists() or written.read_bytes().count(b"\n") < 5:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    left = written.read_bytes().count(b"\n") - 1
    spread_results = run(*spread, "--resume", cwd=tmp_path)
    results = run(*asking, "--out", "alone", "--json", cwd=tmp_path)
    assert 4 <= left < 120
    assert written.read_bytes() == (tmp_path / "alone" / "answers.jsonl").read_bytes()
    assert results.pop("command") != spread_results.pop("command")
    assert results == spread_results


def test_a_table_is_scored_as_in_one_process(tmp_path: Path, tiny_path: Path) -> None:
    guard = Guard(
        load(tiny_path, n_ctx=512),
        log=TraceLog(tmp_path / "log.jsonl"),
        locator="whole",
        profile=None,
    )
    for n in range(6):
        guard.ask(f"Which town, {n}?", max_tokens=8)
    score = ["score", "--from-log", "log.jsonl", "--profile", "none", "--json"]
    alone = run(*score, "--out", "alone", cwd=tmp_path)
    spread = run(*score, "--out", "spread", "--on", "ray", "--workers", 2, cwd=tmp_path)
    assert spread.pop("out") != alone.pop("out")
    assert spread == alone
    tables = [parquet.read_table(tmp_path / name) for name in ("alone", "spread")]
    assert tables[0].equals(tables[1]) and len(tables[0]) == 6


def test_more_than_there_is_is_refused_instead_of_waited_for() -> None:
    share = Share(workers=1, gpus=1000)
    with pytest.raises(ConfigError, match="1000 GPU do not fit"), connected("ray", share):
        pass
