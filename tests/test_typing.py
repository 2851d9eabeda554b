"""Type checkers find the mistakes of callers, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

MISTAKES = Path(__file__).with_name("typing_mistakes.py")
CONFIG = """
[mypy]
strict = true

# Only our own types are in question, and reading those of big packages takes minutes.
[mypy-accelerate.*,huggingface_hub.*,llama_cpp.*,numpy.*,regex.*,rich.*,torch.*,transformers.*]
follow_imports = skip
ignore_missing_imports = true
"""


def expected() -> set[tuple[int, str]]:
    """Line numbers with the errors that the lines name."""
    lines = MISTAKES.read_text(encoding="utf-8").splitlines()
    marked = [(number, line.partition("# error: ")[2]) for number, line in enumerate(lines, 1)]
    return {(number, code) for number, code in marked if code}


@pytest.mark.slow
def test_mypy_finds_each_mistake_and_nothing_else(
    pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    config = tmp_path / "mypy.ini"
    config.write_text(CONFIG, encoding="utf-8")
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir("typing")  # the second run takes seconds
    command = [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", kept]
    done = subprocess.run(
        [*command, "--no-pretty", "--no-error-summary", MISTAKES],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        cwd=MISTAKES.parents[1],
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found = re.findall(r"^(?:.*[/\\])?([\w.]+):(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.M)
    elsewhere = [line for line in found if line[0] != MISTAKES.name]
    assert not elsewhere, done.stdout
    assert {(int(line), code) for _, line, code in found} == expected(), done.stdout


def test_there_are_mistakes_to_find() -> None:
    codes = {code for _, code in expected()}
    assert len(expected()) > 20
    assert codes >= {"call-arg", "arg-type", "return-value", "union-attr"}
