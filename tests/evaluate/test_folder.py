"""An evaluation's folder when it is gone on with: nothing stale, nothing lost, nothing twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from energy_guard.backends import Scripted
from energy_guard.cli import evaluate as module
from energy_guard.cli.evaluate import evaluate
from energy_guard.errors import InputError
from energy_guard.evaluate.references.ask_again import read_measured
from energy_guard.questions.answered import read_answers

Evaluate = Callable[..., dict[str, Any]]
NAMES = tuple(f"towns-{number}" for number in range(12))


def write_rows(path: Path, answer: str = "Oslo", **change: Any) -> Path:
    rows: list[dict[str, Any]] = [
        {"id": name, "task": "towns", "question": f"{name}?", "answers": [answer]} for name in NAMES
    ]
    rows[0] |= change
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """Evaluate a model that says "Oslo" to so many questions and no more, into `out`."""

    def evaluated(says: int = 0, resume: bool = True, **options: Any) -> dict[str, Any]:
        backend = Scripted.saying(*[[("Oslo", 0.9)]] * 99)
        backend._played = 99 - says
        monkeypatch.setattr(module.EngineOptions, "open", lambda _: backend)
        defaults: dict[str, Any] = {
            "model": "demo", "rows": 300, "from_traces": None, "baselines": 0, "told": 0,
            "probe": False, "backend": None, "detector": None, "locator": None, "profile": None,
            "n_ctx": None, "n_gpu_layers": None, "n_threads": None, "device": None, "dtype": None,
            "as_json": False,
        }  # fmt: skip
        data = None if options.get("from_traces") else [tmp_path / "data.jsonl"]
        out = options.pop("out", tmp_path / "out")
        evaluate(data, out=out, resume=resume, **defaults | options)
        found: dict[str, Any] = json.loads((out / "results.json").read_text())
        return found

    write_rows(tmp_path / "data.jsonl")
    return evaluated


def test_corrected_gold_answers_count_wherever_they_were_graded(
    tmp_path: Path, run: Evaluate
) -> None:
    first = run(12 + 3 * 4, resume=False, told=4)
    assert first["outcomes"]["right"] == 12
    assert [target["told"]["value"] for target in first["told"]] == [1.0] * 3
    write_rows(tmp_path / "data.jsonl", answer="Bergen")
    again = run()
    assert again["outcomes"]["wrong"] == 12
    assert all(target["told"]["value"] < 0 for target in again["told"])
    for file in tmp_path.glob("out/*.jsonl"):
        assert {a.outcome for a in read_answers(file)[1]} == {"wrong"}


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("change", [{"locator": "whole"}, {"question": "another?"}])
def test_a_refused_resume_leaves_a_finished_evaluation_as_it_is(
    tmp_path: Path, run: Evaluate, change: dict[str, str]
) -> None:
    run(12, resume=False)
    before = contents(tmp_path / "out")
    write_rows(tmp_path / "data.jsonl", **{k: v for k, v in change.items() if k == "question"})
    with pytest.raises(InputError, match=r"locator|question"):
        run(rows=3, locator=change.get("locator"))
    assert contents(tmp_path / "out") == before


def test_killed_while_it_writes_what_was_there_stays(
    tmp_path: Path, run: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(12, resume=False)
    before = contents(tmp_path / "out")
    monkeypatch.setattr(Path, "replace", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        run(rows=3)
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("left", [0, 1, 40])
def test_killed_in_the_first_line_of_any_file_it_is_gone_on_with_and_scored(
    tmp_path: Path, run: Evaluate, left: int
) -> None:
    out = tmp_path / "out"
    whole = run(12 + 3 * 4, resume=False, told=4)
    for name in ("told-0.5.jsonl", "baselines.jsonl"):
        (out / name).write_bytes((out / "told-0.5.jsonl").read_bytes()[:left])
    assert len(run(from_traces=out, resume=False)["told"]) == 2
    assert run(4, told=4)["told"] == whole["told"]
    (out / "answers.jsonl").write_bytes((out / "answers.jsonl").read_bytes()[:left])
    assert run(12)["outcomes"] == whole["outcomes"]


HOLD = """
import sys
from pathlib import Path
from energy_guard.files import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process_at_work(lock: Path) -> Iterator[None]:
    """Hold a folder in another process, which is killed."""
    command = [sys.executable, "-c", HOLD, lock]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"held"
        yield
        process.kill()


def test_two_at_once_are_refused_and_a_killed_one_blocks_nothing(
    tmp_path: Path, run: Evaluate
) -> None:
    out = tmp_path / "out"
    whole = run(12, resume=False)
    lines = (out / "answers.jsonl").read_bytes().splitlines(keepends=True)
    (out / "answers.jsonl").write_bytes(b"".join([*lines[:4], lines[4][:50]]))
    before = contents(out)
    with another_process_at_work(out / "eval.lock"):
        with pytest.raises(InputError, match="another run is at work"):
            run(12)
        assert contents(out) == before, "a line that the other one is writing is not cut off"
        assert run(from_traces=out, out=tmp_path / "so_far", resume=False)["n"] == 3
    assert run(9)["outcomes"] == whole["outcomes"]


def test_reading_cuts_nothing_off(tmp_path: Path) -> None:
    path = tmp_path / "baselines.jsonl"
    line = json.dumps({"id": "a", "measured": {"p(true)": 0.5, "agreement": 1.0}})
    path.write_text(line + "\n" + line[:20])
    assert read_measured(path).keys() == {"a"}
    assert path.read_text() == line + "\n" + line[:20]


def test_two_answers_to_one_question_are_named_by_line(tmp_path: Path, run: Evaluate) -> None:
    run(12, resume=False)
    path = tmp_path / "out" / "answers.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[4]]))
    with pytest.raises(InputError, match=r"answers\.jsonl, line 14: .* a second time"):
        run()


@pytest.mark.parametrize("out", [{}, {"out": None}])
def test_where_there_is_nothing_to_score_nothing_is_made(
    tmp_path: Path, run: Evaluate, out: dict[str, Any]
) -> None:
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="cannot read"):
        run(from_traces=tmp_path / "typo" / "a" / "b", resume=False, **out)
    assert set(tmp_path.rglob("*")) == before
