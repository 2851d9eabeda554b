"""Every command has the options that scripts know, and none can be given in another's place."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import dataclass, fields
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

import energy_guard
from energy_guard.cli.app import app
from energy_guard.cli.bundle import bundled
from energy_guard.cli.options import (
    EngineOptions,
    JudgingOptions,
    SamplingOptions,
    asked,
    template_variables,
)
from energy_guard.errors import InputError
from energy_guard.request import Message

ENGINE = (
    "--model/-m --backend --n-ctx --n-gpu-layers --n-threads --device --dtype --template-variable "
    "--served-model"
)
HERE = ENGINE.replace(" --served-model", "")
SAMPLING = "--max-tokens --temperature --seed --stop"
DATA = "--column --separator"
REPRODUCE = "-n --out --resume --from-traces --system --shots"
SPREAD = "--on --workers --gpus-per-worker"
JUDGING = "--detector --locator --policy --profile --support"

OPTIONS = {
    "demo": "",
    "ask": f"question {ENGINE} {SAMPLING} {JUDGING} --system --raw --log --log-private --json",
    "chat": f"{ENGINE} {SAMPLING} {JUDGING} --system --log --log-private",
    "score": f"{ENGINE} {JUDGING} --prompt --answer --from-log --system --raw --fast --log "
    "--log-private --out --resume --on --workers --json",
    "serve": f"{ENGINE} {JUDGING} --host --port --api-key --no-key --stream --max-tokens "
    "--max-waiting --timeout --reveal --refusal-as-content --log --log-private",
    "calibrate": f"data {ENGINE} {DATA} {SPREAD} --max-risk --confidence --target --policy "
    "--system --shots --whole --detector --locator --support --neurons --out --resume --grader "
    "--unlabelled --labels --profile --json",
    "eval": f"data {ENGINE} {DATA} {SPREAD} -n --out --resume --from-traces --baselines --told "
    "--probe --shots --system --detector --locator --support --profile --grader --json",
    "label": "answers --second-pass --report --labeller",
    "doctor": f"{HERE} --json",
    "neurons find": f"data {HERE} {DATA} --alike -n --samples --out --resume --json",
    "neurons origin": f"data {HERE} {DATA} --base --out --json",
    "reproduce spilled-energy": f"data {ENGINE} {DATA} {REPRODUCE} --json",
    "reproduce abstention": f"data {ENGINE} {DATA} {REPRODUCE} --told --json",
    "reproduce arithmetic": f"{HERE} -n --digits --out --resume --shots --json",
    "reproduce h-neurons": f"data {HERE} {DATA} --factor --neurons -n --out --resume --json",
    "bench": f"{HERE.replace('--n-ctx ', '')} --pairs --tokens --json",
}


def commands() -> dict[str, Any]:
    """Every command by its name, those of a group after the group's."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            found |= {f"{name} {inner}": each for inner, each in command.commands.items()}
        else:
            found[name] = command
    return found


def test_the_commands_and_their_options() -> None:
    found = {
        name: sorted("/".join(parameter.opts) for parameter in command.params)
        for name, command in commands().items()
    }
    assert found == {name: sorted(options.split()) for name, options in OPTIONS.items()}


def test_options_that_several_commands_have_say_the_same_in_all() -> None:
    helps: dict[str, set[str | None]] = {}
    for command in commands().values():
        for parameter in command.params:
            if parameter.opts[0] in f"{ENGINE} {SAMPLING}".replace("/", " ").split():
                helps.setdefault(parameter.opts[0], set()).add(parameter.help)
    assert len(helps) == 13
    assert all(len(said) == 1 and None not in said for said in helps.values()), helps


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "demo"])
def test_only_two_parameters_of_a_command_can_be_given_without_names(name: str) -> None:
    groups = {f"{group.name} ": group.typer_instance for group in app.registered_groups}
    callbacks = {
        f"{prefix}{info.name or info.callback.__name__}": info.callback
        for prefix, program in {"": app, **groups}.items()
        if program
        for info in program.registered_commands
        if info.callback
    }
    parameters = list(inspect.signature(callbacks[name]).parameters.values())
    assert all(parameter.kind == parameter.KEYWORD_ONLY for parameter in parameters[2:])


@pytest.mark.parametrize("name", OPTIONS)
def test_paragraphs_of_help_are_broken_at_the_edge_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = CliRunner().invoke(app, [*name.split(), "--help"]).output
    lines = [line.strip() for line in shown.partition("╭")[0].splitlines()]
    assert "Usage:" in lines[1]
    for line, following in pairwise(lines[2:]):
        if line and following:
            assert len(f" {line} {following.split()[0]} ") > 60, line


@pytest.mark.parametrize("kind", [EngineOptions, SamplingOptions, JudgingOptions])
def test_options_of_a_bundle_cannot_be_swapped_in_silence(kind: type) -> None:
    positional = [field.name for field in fields(kind) if not field.kw_only]
    assert positional in ([], ["model"])


@dataclass(frozen=True, kw_only=True)
class Tea:
    """How tea is made."""

    minutes: Annotated[int, typer.Option(help="How long.", min=1)] = 3
    leaves: Annotated[str, typer.Option("--leaves", "-l")] = "green"


def test_a_bundle_arrives_as_the_program_was_told() -> None:
    made: list[tuple[Tea, str]] = []
    program = typer.Typer()

    @program.command()
    @bundled()
    def make(
        tea: Tea,
        *,
        cup: str = "white",
    ) -> None:
        made.append((tea, cup))

    for line in ("", "--minutes 5 -l black", "--cup blue"):
        assert CliRunner().invoke(program, line.split()).exit_code == 0
    assert CliRunner().invoke(program, ["--minutes", "0"]).exit_code == 2
    assert made == [(Tea(), "white"), (Tea(minutes=5, leaves="black"), "white"), (Tea(), "blue")]


def test_a_field_that_is_left_out_is_no_option_and_keeps_its_default() -> None:
    made = []

    @bundled(without=("minutes",))
    def make(tea: Tea) -> None:
        made.append(tea)

    program = typer.Typer()
    program.command()(make)
    assert CliRunner().invoke(program, ["-l", "red"]).exit_code == 0
    assert CliRunner().invoke(program, ["--minutes", "5"]).exit_code == 2
    assert made == [Tea(leaves="red")]


def test_the_version_is_printed() -> None:
    program = Path(sys.executable).with_name("energy-guard")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"energy-guard {energy_guard.__version__}\n"
    assert version("energy-guard") == energy_guard.__version__


def test_a_shell_completes_commands() -> None:
    program = Path(sys.executable).with_name("energy-guard")
    asked = {"_ENERGY_GUARD_COMPLETE": "complete_bash", "COMP_WORDS": "energy-guard ca"}
    environment = os.environ | asked | {"COMP_CWORD": "1"}
    done = subprocess.run([program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["calibrate"]


def test_variables_of_a_template_are_json_or_texts() -> None:
    given = ["enable_thinking=false", "effort=low", "depth=3", "sign=a=b", "empty="]
    assert template_variables(given) == {
        "enable_thinking": False,
        "effort": "low",
        "depth": 3,
        "sign": "a=b",
        "empty": "",
    }


@pytest.mark.parametrize("given", [["x"], ["=1"], ["a b=1"], ["x=1", "x=2"], ["messages=[]"]])
def test_a_variable_that_is_none_is_refused(given: list[str]) -> None:
    with pytest.raises(InputError):
        EngineOptions("demo", template_variable=given)


@pytest.mark.parametrize(
    "args", ["--seed -1", "--seed 4294967296", "--n-gpu-layers 9999999999", "--n-ctx 99999999"]
)
def test_numbers_that_no_engine_takes_are_bad_usage(args: str) -> None:
    assert CliRunner().invoke(app, ["ask", "Hi", *args.split()]).exit_code == 2


def test_a_system_message_is_asked_with_and_a_plain_completion_has_none() -> None:
    request = asked("Who?", system="Be brief.", raw=False)
    assert request.messages == (Message("system", "Be brief."), Message("user", "Who?"))
    assert asked("Who?", system=None, raw=True).mode == "raw"
    with pytest.raises(InputError, match="no system prompt"):
        asked("Who?", system="Be brief.", raw=True)
