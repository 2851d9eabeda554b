"""`--grader model:FILE` of `eval` and `calibrate`, with scripted models on both sides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from energy_guard.backends import Backend, Scripted
from energy_guard.backends.scripted import Script
from energy_guard.cli.calibrate import calibrate
from energy_guard.cli.evaluate import evaluate
from energy_guard.cli.grader import check_grader, opened_grader
from energy_guard.cli.options import EngineOptions
from energy_guard.errors import ConfigError, InputError, ModelFileError

ROWS = 180


def asked() -> Scripted:
    """Two of three answers are right by the rules, one is not."""
    says = ("Oslo", "Oslo", "Christiania")
    return Scripted.saying(*[[(says[n % 3], 0.5 + n / 500)] for n in range(ROWS)])


def grading(log_odds: float, n: int = ROWS) -> Scripted:
    row = np.array([[log_odds, 0.0, -9.0]], np.float32)
    return Scripted((b"Yes", b"No", b"!"), [Script((0,), row)] * n)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Which model is loaded for which --model and FILE."""

    def use(**by_name: Backend) -> None:
        monkeypatch.setattr(EngineOptions, "open", lambda options: by_name[options.model])

    return use


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"id": str(n), "task": "towns", "question": f"Which town {n}?", "answers": ["Oslo"]}
        for n in range(ROWS)
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def outcomes(path: Path) -> list[str]:
    return [json.loads(line)["outcome"] for line in path.read_text("utf-8").splitlines()[1:]]


@pytest.mark.parametrize("given", ["model:", "model", "demo", "", "rules:demo"])
def test_what_is_no_grader_is_refused_before_anything_is_loaded(
    tmp_path: Path, data: Path, models: Callable[..., None], given: str
) -> None:
    models()
    with pytest.raises(ConfigError, match="no grader") as caught:
        check_grader(given)
    assert "model:FILE" in caught.value.hint
    with pytest.raises(ConfigError, match="no grader"):
        evaluate([data], out=tmp_path / "out", grader=given)
    with pytest.raises(ConfigError, match="no grader"):
        calibrate([data], out=tmp_path / "p.json", grader=given)


@pytest.mark.parametrize("text", ["no model at all", ""])
def test_a_file_that_is_no_model_is_named_before_anything_is_asked(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "grader.gguf"
    path.write_text(text)
    for file in (path, tmp_path / "missing.gguf"):
        opening = opened_grader(f"model:{file}", n_threads=None, asked=tmp_path / "c.jsonl")
        with pytest.raises(ModelFileError, match=file.name), opening:
            pass


def test_without_the_option_the_rules_grade_alone(tmp_path: Path) -> None:
    with opened_grader(None, n_threads=None, asked=tmp_path / "c.jsonl") as grader:
        assert grader is None


def test_eval_asks_the_grading_model_about_what_the_rules_call_wrong(
    tmp_path: Path,
    data: Path,
    models: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    models(demo=asked(), judge=grading(9.0, n=ROWS // 3))
    evaluate([data], out=out, locator="whole", grader="model:judge")
    assert outcomes(out / "answers.jsonl") == ["right"] * ROWS
    assert "Nobody has measured how scripted grades" in capsys.readouterr().err
    compared = (out / "compared.jsonl").read_text("utf-8").splitlines()
    assert {json.loads(line)["given"] for line in compared} == {"Christiania"}
    made_with = json.loads((out / "results.json").read_text("utf-8"))["made_with"]
    assert made_with["grader"]["model"]["name"] == "scripted"
    models(demo=Scripted.saying())
    with pytest.raises(InputError, match="grader"):
        evaluate([data], out=out, locator="whole", resume=True)
    with pytest.raises(InputError, match="asks no questions"):
        evaluate(from_traces=out, grader="model:judge")


def test_what_the_grading_model_cannot_tell_is_counted_and_listed_for_a_person(
    tmp_path: Path, data: Path, models: Callable[..., None]
) -> None:
    out = tmp_path / "out"
    models(demo=asked(), judge=grading(0.0, n=ROWS // 3))
    evaluate([data], out=out, locator="whole", grader="model:judge")
    counted = json.loads((out / "results.json").read_text("utf-8"))["outcomes"]
    assert (counted["right"], counted["unsure"]) == (ROWS * 2 // 3, ROWS // 3)
    listed = (out / "unsure.jsonl").read_text("utf-8").splitlines()
    assert {json.loads(line)["answer"] for line in listed} == {"Christiania"}


def test_calibrate_learns_from_the_grades_of_the_model(
    tmp_path: Path, data: Path, models: Callable[..., None]
) -> None:
    given: dict[str, Any] = {"out": tmp_path / "p.json", "locator": "whole"}
    models(demo=asked(), judge=grading(-9.0, n=ROWS // 3))
    calibrate([data], **given, detector="nll:max", grader="model:judge")
    stored = tmp_path / "p.answers.jsonl"
    assert outcomes(stored).count("wrong") == ROWS // 3
    head: dict[str, Any] = json.loads(stored.read_text("utf-8").splitlines()[0])
    assert head["made_with"]["grader"]["model"]["backend"] == "scripted"
    assert len((tmp_path / "p.compared.jsonl").read_text("utf-8").splitlines()) == ROWS // 3
