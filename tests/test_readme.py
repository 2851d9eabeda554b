"""What the README shows is what the programs print, and its figures are those of the cards.

Models that a hub id names are taken from the cache for developers, where they are; a block whose
model is not there is skipped.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from pages import assert_same, program, sessions

from benchmarks.picture import picture, plain, session

ROOT = Path(__file__).parent.parent
README = ROOT.joinpath("README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(console|pycon)\n(.*?)```", README, re.DOTALL)
FIRST = next(text for kind, text in BLOCKS if kind == "console")
PYTHON = [text for kind, text in BLOCKS if kind == "pycon"]
HUB = "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF:*q4_k_m.gguf"
FILE = Path.home() / ".cache/energy-guard/models/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"

needs_file = pytest.mark.skipif(not FILE.exists(), reason=f"{HUB} is not in the cache")


def test_the_first_screen_has_what_a_stranger_looks_for() -> None:
    lines = README.splitlines()
    assert len(lines) <= 85
    first = "\n".join(lines[:30])
    for needed in ("make demo", "make test", "docs/pictures/chat.svg", PYTHON[0]):
        assert needed in first
    assert all(f"**{word}**" in README for word in ("P(wrong)", "profile", "locator"))


def test_the_first_commands_exist() -> None:
    targets = re.findall(r"^\$ make (\w+)", FIRST, re.MULTILINE)
    assert targets == ["demo", "test"]
    for target in [*targets, "docs", "check"]:
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)
    extras = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text("utf-8"))
    named = re.findall(r"pip install '\.\[(.+?)\]'", README)
    assert named
    assert set(named) <= extras["project"]["optional-dependencies"].keys()


@pytest.mark.model
def test_a_session_prints_what_it_shows() -> None:
    [(command, shown)] = [each for each in sessions(README) if each[0].startswith("energy-guard ")]
    assert HUB not in command
    assert_same(plain(session(program(command))), shown)


@pytest.mark.slow
@needs_file
@pytest.mark.parametrize("block", PYTHON)
def test_the_lines_of_python_print_what_they_show(
    block: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = re.findall(r"^>>> (.*)", block, re.MULTILINE)
    exec("\n".join(lines).replace(HUB, str(FILE)), {})
    assert_same(capsys.readouterr().out, block.rpartition(">>> ")[2].partition("\n")[2])


@pytest.mark.slow
@needs_file
def test_the_picture_is_of_a_real_terminal() -> None:
    page = ROOT.joinpath("docs", "guides", "terminal.md").read_text("utf-8")
    made_by = page.partition("made by\n\n")[2].partition("\n\n")[0].replace("\\\n", "")
    words = shlex.split(made_by)
    typed = words[words.index("%s\\n") + 1 : words.index("|")]
    chat = shlex.join(words[words.index("--", words.index("--title")) + 1 :])
    chat = chat.replace(HUB, str(FILE))
    drawn = picture(session(program(chat), typed), words[words.index("--title") + 1])
    stored = ROOT.joinpath("docs", "pictures", "chat.svg").read_text("utf-8")
    assert len(typed) == 4
    assert stored.count("abstain") > 1
    assert_same(drawn, stored)


def test_the_table_has_the_figures_of_the_cards() -> None:
    rows = re.findall(r"^\| (.*?) \| (\d+) \| (.*) \|$", README, re.MULTILINE)
    told = {name: (n, *rest.split(" | ")) for name, n, rest in rows}
    cards = ROOT.joinpath("energy_guard", "data", "profiles").glob("*.card.json")
    found = {}
    for card in (json.loads(path.read_text("utf-8")) for path in cards):
        if card["elsewhere"]:
            answers = card["elsewhere"]["all"]
            shown = answers["below"]["0.5"]
            figures = (
                answers["wrong"],
                shown["coverage"],
                shown["wrong"],
                answers["auroc"],
                answers["auroc_nll_max"],
            )
            texts = [f"{x['value']:.2f} ({x['low']:.2f} to {x['high']:.2f})" for x in figures]
            texts[1] = texts[1].split()[0]
            found[card["name"]] = (str(answers["n"]), *texts)
    assert told == found
    assert len(found) == 4
