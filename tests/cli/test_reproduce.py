"""`energy-guard reproduce` from end to end, with a tiny model and with a scripted one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from energy_guard.backends import Scripted
from energy_guard.cli import reproduce as module
from energy_guard.cli.app import app

ARITHMETIC = ["arithmetic", "-n", "2", "--digits", "6", "--n-threads", "1"]


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["reproduce", *map(str, words)], catch_exceptions=False)


def refused(*words: str | Path) -> str:
    with pytest.raises(Exception) as caught:  # the program's main tells it
        run(*words)
    return str(caught.value)


def test_arithmetic_goes_on_where_it_ended_and_tells_the_same_again(
    tiny_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sums"
    first = run(*ARITHMETIC, "--model", tiny_path, "--out", out)
    assert "6 digits, off by 1000 to 10000" in first.stdout
    assert "has sums already" in refused(*ARITHMETIC, "--model", tiny_path, "--out", out)
    figures, picture = (out / "arithmetic.json").read_bytes(), (out / "arithmetic.svg").read_text()
    again = run(*ARITHMETIC, "--model", tiny_path, "--out", out, "--resume", "--json")
    assert (out / "arithmetic.json").read_bytes() == figures
    assert json.loads(again.stdout) == json.loads(figures)
    assert (out / "arithmetic.svg").read_text() == picture


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = [f"town-{number}" for number in range(12)]
    says = [[("Oslo" if n % 2 else "Bergen", 0.5 + 0.03 * n)] for n in range(12)]
    told = [[("Oslo" if n % 3 else "I do not know", 0.7)] for n in range(12)]
    backend = Scripted.saying(*says, *told, *told, *told)
    monkeypatch.setattr(module.EngineOptions, "open", lambda _: backend)
    rows = [{"id": n, "task": "towns", "question": f"{n}?", "answers": ["Oslo"]} for n in names]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_spilled_energy_asks_and_scores_stored_answers_alike(data: Path, tmp_path: Path) -> None:
    asked = run("spilled-energy", data, "--model", "demo", "--out", tmp_path / "a", "--json")
    stored = run("spilled-energy", "--from-traces", tmp_path / "a", "--out", tmp_path / "b")
    assert (tmp_path / "b/spilled-energy.json").read_text() == asked.stdout.strip()
    assert "spilled_energy:max" in stored.stdout
    assert "49.3" in stored.stdout
    assert (tmp_path / "b/spilled-energy.svg").read_text().startswith("<?xml")
    assert json.loads(asked.stdout)["tasks"] == {"towns": [12, 6]}


def test_abstention_has_the_guard_and_the_model_that_was_told(data: Path, tmp_path: Path) -> None:
    shown = run("abstention", data, "--model", "demo", "--told", "12", "--out", tmp_path / "a")
    assert "The model told the rule" in shown.stdout
    found = json.loads((tmp_path / "a/abstention.json").read_text())
    assert [row["target"] for row in found["told"]] == [0.5, 0.75, 0.9]
    assert found["told"][0]["declined"] == 4
    assert found["told"][0]["right_of_answered"]["value"] == 1.0
    again = run("abstention", "--from-traces", tmp_path / "a", "--out", tmp_path / "b", "--json")
    assert json.loads(again.stdout) == found


def test_what_cannot_be_asked_says_what_to_give(tmp_path: Path) -> None:
    assert "nothing to ask" in refused("spilled-energy", "--out", tmp_path / "a")
    both = refused("abstention", tmp_path / "q.jsonl", "--from-traces", tmp_path)
    assert "--from-traces asks no questions" in both
    counted = refused("abstention", "--from-traces", tmp_path, "-n", "9", "--told", "5")
    assert "-n, --told would be passed over" in counted
    assert not (tmp_path / "a").exists()
