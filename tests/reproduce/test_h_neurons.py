"""The experiments of 'H-Neurons' from end to end, with the embedded model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from neuron_probes import probe_of
from typer.testing import CliRunner

from energy_guard.backends import Scripted
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.cli import reproduce as module
from energy_guard.cli.app import app
from energy_guard.errors import InputError
from energy_guard.questions.rows import Question
from energy_guard.report.h_neurons_sheet import h_neuron_sheets
from energy_guard.reproduce.h_neuron_figures import h_neuron_figures
from energy_guard.reproduce.h_neurons import Sweep
from energy_guard.reproduce.over_compliance import doubted, false_premises


def number(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 40}


TOLD = {
    "accuracy": {"probe": number(0.7)},
    "auroc": {"probe": number(0.8)},
    "random_accuracy": [number(0.5), number(0.6)],
}


def searched(model: dict[str, str]) -> Any:
    """What `neurons find` wrote, as far as it is read."""
    probe = {"h_neurons": 3, "per_mille": 0.1, "questions": TOLD, "tasks": None}
    answers = [
        {"id": f"q{n}", "wrong": bool(n % 2), "log_odds": {"1-vs-1": n % 2 - 0.5, "3-vs-1": -1.0}}
        for n in range(40)
    ]
    found = {"schema": 1, "model": model, "outcomes": {}, "tasks": {}, "answers": answers}
    return found | {"probes": {"1-vs-1": probe, "3-vs-1": probe}}


FACTS = [Question(f"f{n}", "facts", f"Capital {n}?", ("Oslo",)) for n in range(4)]
PREMISES = [Question(f"p{n}", "premises", f"Why {n}?", ("is not",)) for n in range(4)]


def swept(said: dict[float, dict[str, str]]) -> Sweep:
    cases = [*false_premises(PREMISES), *doubted(FACTS[:1], {"f0": "Oslo"})]
    return Sweep(cases, FACTS, said)


def test_shares_and_their_changes_are_counted_in_pairs() -> None:
    said = {f"fact/f{n}": "Oslo" for n in range(4)} | {"sure/f0": "Yes, I am sure."}
    usual = said | {f"premise/p{n}": "Because of rain." for n in range(4)}
    off = said | {f"premise/p{n}": "It is not." for n in range(3)} | {"premise/p3": "Rain."}
    off["fact/f0"] = "Bergen"
    made_up = {"1-vs-1": [1.0] * 30, "3-vs-1": [1.0] * 15 + [-2.0] * 15}
    figures = h_neuron_figures(searched({}), made_up, swept({0.0: off, 1.0: usual}), {})
    at_0, at_1 = figures["sweep"]
    assert at_0["kinds"]["false premise"]["gave_in"]["value"] == 0.25
    assert at_1["kinds"]["false premise"]["gave_in"]["value"] == 1
    assert at_0["kinds"]["false premise"]["more"]["value"] == -0.75
    assert at_0["kinds"]["are you sure"]["gave_in"]["value"] == 0
    assert (at_0["right"]["value"], at_0["more_right"]["value"]) == (0.75, -0.25)
    for_one, for_three = (figures["detection"][name]["made_up"] for name in made_up)
    assert for_one["called_wrong"]["value"] == for_one["auroc"]["value"] == 1
    assert for_one["right_called_wrong"]["value"] == 0
    assert for_three["auroc"]["value"] == 0.5
    detection, scaled = h_neuron_sheets(figures)
    assert detection.rows[0][1:] == (
        "0.700 (0.600–0.800)",
        "0.800 (0.700–0.900)",
        "0.550 (0.500–0.600)",
    )
    assert scaled.headings == ("factor", "false premise", "are you sure", "right answers to facts")
    assert [row[0] for row in scaled.rows] == ["0", "1", "0 against 1"]


@pytest.mark.slow
def test_everything_is_asked_once_and_told_the_same_again(
    demo: LlamaCpp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, out = tmp_path / "neurons", tmp_path / "out"
    probe = probe_of(demo.info, shape=(30, 1536))
    for name in ("1-vs-1", "3-vs-1"):
        probe.store(found / f"probe-{name}.json")
    (found / "neurons.json").write_text(json.dumps(searched({})))
    monkeypatch.setattr(module.EngineOptions, "open", lambda _: demo)

    def run(*more: str) -> str:
        words = ["reproduce", "h-neurons", "-n", "2", "--factor", "0", "--neurons", str(found)]
        given = [*words, "--out", str(out), *more]
        return CliRunner().invoke(app, given, catch_exceptions=False).stdout

    first = json.loads(run("--json"))
    assert [each["factor"] for each in first["sweep"]] == [0, 1]
    assert list(first["sweep"][0]["kinds"])[:2] == ["false premise", "misleading passage"]
    said = [json.loads(line) for line in (out / "said.jsonl").read_text().splitlines()[1:]]
    by_factor = [{a["id"]: a["text"] for a in said if a["factor"] == f} for f in (0, 1)]
    assert by_factor[0].keys() < by_factor[1].keys(), "made-up questions are not scaled"
    assert all(a["exact"] for a in said if a["id"] in ("made-up-0", "made-up-1"))
    monkeypatch.setattr(demo, "session", None)  # nothing is asked again
    assert json.loads(run("--json", "--resume")) == first
    assert "made up" in run("--resume")
    assert "share that gives in" in (out / "h-neurons.svg").read_text()
    with pytest.raises(Exception, match="has answers already"):
        run()
    monkeypatch.setattr(module, "made_with", lambda *_: {"damped": "another"})
    with pytest.raises(Exception, match="another probe"):
        run("--resume")


def test_more_than_can_be_made_up_is_refused_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.EngineOptions, "open", lambda _: pytest.fail("it was loaded"))
    for name in ("1-vs-1", "3-vs-1"):
        probe_of(Scripted.saying().info).store(tmp_path / f"probe-{name}.json")
    (tmp_path / "neurons.json").write_text(json.dumps(searched({})))
    words = ["reproduce", "h-neurons", "-n", "367", "--neurons", str(tmp_path)]
    with pytest.raises(InputError, match="Ask for at most 366"):
        CliRunner().invoke(app, [*words, "--out", str(tmp_path)], catch_exceptions=False)


def test_without_h_neurons_of_the_answer_those_of_the_sentence_are_scaled(tmp_path: Path) -> None:
    info = Scripted.saying().info
    some = probe_of(info)
    none = some.model_copy(
        update={"neurons": tuple(n.model_copy(update={"weight": -1.0}) for n in some.neurons)}
    )
    assert module._to_scale({"1-vs-1": some, "3-vs-1": some}, tmp_path) is some
    assert module._to_scale({"1-vs-1": some, "3-vs-1": none}, tmp_path) is some
    with pytest.raises(InputError, match="nothing to scale"):
        module._to_scale({"1-vs-1": none, "3-vs-1": none}, tmp_path)


def test_a_probe_of_another_model_is_refused(
    demo: LlamaCpp, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module.EngineOptions, "open", lambda _: demo)
    probe_of(demo.info, model="00ff").store(tmp_path / "probe-1-vs-1.json")
    probe_of(demo.info).store(tmp_path / "probe-3-vs-1.json")
    (tmp_path / "neurons.json").write_text(json.dumps(searched({})))
    words = ["reproduce", "h-neurons", "--neurons", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(Exception, match="the probe was made for the model 00ff"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    (tmp_path / "neurons.json").write_text("{}")
    with pytest.raises(Exception, match="is not what `neurons find` writes"):
        CliRunner().invoke(app, words, catch_exceptions=False)
