"""What pages of the documentation show of the embedded model is what the program prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import assert_same, program, sessions

from benchmarks.picture import plain, session

DOCS = Path(__file__).parent.parent / "docs"
SHOWN = [
    (command, shown)
    for page in ("guides/terminal.md", "support.md")
    for command, shown in sessions(DOCS.joinpath(page).read_text("utf-8"))
    if command.startswith("energy-guard ") and shown.strip()
]


def test_the_pages_show_sessions() -> None:
    assert [command.split()[1] for command, _ in SHOWN] == ["ask", "ask", "chat", "score"]


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize(("command", "shown"), SHOWN)
def test_a_page_shows_what_is_printed(command: str, shown: str) -> None:
    typed = re.findall(r"^> (.*)", shown, re.MULTILINE)
    assert_same(plain(session(program(command), typed)), shown)
