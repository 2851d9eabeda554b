"""Sessions that pages show, and how near what is printed has to come to them."""

from __future__ import annotations

import re
import shlex
import sys

import pytest

NUMBER = r"-?\d+\.\d\d\d?"


def sessions(page: str) -> list[tuple[str, str]]:
    """Each command of a page's console blocks, with what is shown below it."""
    blocks = re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    split = [re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*)\n(.*)", part, re.DOTALL) for part in parts]
    return [(match[1].replace("\\\n", ""), match[2]) for match in split if match]


def program(command: str) -> list[str]:
    """A command of a page as one of this environment."""
    name, *arguments = shlex.split(command, comments=True)
    assert name == "energy-guard"
    return [sys.executable, "-m", "energy_guard.cli", *arguments]


def assert_same(printed: str, expected: str) -> None:
    """Texts are the same, and numbers nearly: processors differ in the last digits."""
    printed, expected = (
        "\n".join(re.sub(" +", " ", line) for line in text.strip().splitlines())
        for text in (printed, expected)
    )
    assert re.sub(NUMBER, "…", printed) == re.sub(NUMBER, "…", expected)
    found, told = ([float(n) for n in re.findall(NUMBER, text)] for text in (printed, expected))
    assert found == pytest.approx(told, abs=0.03)
    assert found
