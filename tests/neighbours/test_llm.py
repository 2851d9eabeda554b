"""The plugin for `llm`, under the real command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import llm
import llm_energy_guard
import pytest
from click.testing import CliRunner, Result
from llm.cli import cli
from llm.plugins import load_plugins, pm
from llm_energy_guard.model import EnergyGuardModel

from energy_guard.backends import Backend, Scripted

KNOWN, UNKNOWN = "What is the chemical symbol for gold?", "Who won the 1987 Tour de France?"
ABSTENTION = "I am not sure enough to answer that."


@pytest.fixture
def registered(
    demo: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EnergyGuardModel]:
    """The plugin as `llm` finds it, with a folder of its own and the model that is loaded."""
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    monkeypatch.setenv("LLM_LOAD_PLUGINS", "")
    load_plugins()
    model = EnergyGuardModel("demo", demo)
    monkeypatch.setattr(llm_energy_guard, "EnergyGuardModel", lambda *_: model)
    pm.register(llm_energy_guard)
    yield model
    pm.unregister(llm_energy_guard)


def run(*args: str) -> Result:
    done = CliRunner().invoke(cli, args, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.model
def test_the_verdict_is_in_the_responses_json(registered: EnergyGuardModel) -> None:
    ask = ("-m", "energy-guard/demo", "-s", "Answer in one short sentence.")
    assert run(*ask, KNOWN).output == "The chemical symbol for gold is Au.\n"
    assert run(*ask, UNKNOWN).output == f"{ABSTENTION}\n"
    known, unknown = json.loads(run("logs", "--json", "-n", "2").output)
    known, unknown = (log["response_json"]["energy_guard"] for log in (known, unknown))
    assert (known["verdict"], unknown["verdict"]) == ("warn", "abstain")
    assert 0.25 <= known["p_wrong"] < 0.5 <= unknown["p_wrong"]
    assert "Nicolas" not in str(unknown)


@pytest.mark.model
def test_what_was_withheld_is_not_told_later(registered: EnergyGuardModel) -> None:
    run("-m", "energy-guard/demo", UNKNOWN)
    chat = llm.get_model("energy-guard/demo").conversation()
    assert chat.prompt(UNKNOWN).text() == ABSTENTION
    after = chat.prompt("Say hello.")
    assert after.text()
    alone = registered.prompt("Say hello.")
    assert after.usage().input == alone.usage().input


@pytest.mark.model
def test_an_answer_can_be_held_to_a_schema(registered: EnergyGuardModel, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('detector = "nll:max"\nabstain = 99.0\nunscored = "show"\n')
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    found = registered.prompt("Where is the Louvre?", schema=schema, policy=str(rules))
    assert json.loads(found.text()).keys() == {"city"}


def test_no_text_stands_for_an_object_that_is_withheld() -> None:
    model = EnergyGuardModel("mine", Scripted.saying([('{"city": "Lyon"}', 0.001)]))
    with pytest.raises(llm_energy_guard.AnswerWithheldError, match="withheld") as raised:
        model.prompt("Where?", schema={"type": "object"}).text()
    assert "Lyon" not in str(raised.value)


def test_models_are_added_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    group = click.Group()
    llm_energy_guard.register_commands(group)
    file = tmp_path / "mine.gguf"
    file.touch()
    for name, model in (("mine", str(file)), ("qwen", "owner/name:*Q4_K_M.gguf")):
        done = CliRunner().invoke(group, ["energy-guard", "add", name, model])
        assert done.exit_code == 0, done.output
    models: list[EnergyGuardModel] = []
    llm_energy_guard.register_models(models.append)
    assert [model.model_id for model in models] == [
        "energy-guard/demo",
        "energy-guard/mine",
        "energy-guard/qwen",
    ]
    for damaged, told in (("[1]", "is no object"), ('{"mine', "is no JSON")):
        (tmp_path / "energy-guard.json").write_text(damaged)
        models.clear()
        llm_energy_guard.register_models(models.append)
        assert [model.model_id for model in models] == ["energy-guard/demo"]
        assert f"energy-guard.json {told}" in capsys.readouterr().err
