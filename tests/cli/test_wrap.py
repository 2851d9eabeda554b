from __future__ import annotations

import io

import pytest
from rich.console import Console

from energy_guard.cli.wrap import WordWrap


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        (["aaa", " bbb", " cc", "cc"], ["aaa bbb", "cccc"]),
        (["aaaa", " bbbbb", " c"], ["aaaa bbbbb", "c"]),
        (["aaaa", " bbbbb", "b c"], ["aaaa", "bbbbbb c"]),
        (["aaaaaaaaa", "aaaaaa bb"], ["aaaaaaaaaaaaaaa bb"]),  # the terminal breaks it
        (["日本語", "日本語"], ["日本語", "日本語"]),
        (["aaa", "\n\n", "  b"], ["aaa", "", "  b"]),
        (["aa", "\tb"], ["aa        ", "b"]),
        ([], [""]),
    ],
)
def test_words_are_not_broken_at_the_edge(pieces: list[str], lines: list[str]) -> None:
    file = io.StringIO()
    wrap = WordWrap(Console(file=file, width=10, force_terminal=True, color_system=None))
    for piece in pieces:
        wrap.write(piece)
    wrap.new_line()
    shown = [line.rstrip() if line.strip() else line for line in file.getvalue().split("\n")]
    assert shown == [*(line.rstrip() for line in lines), ""]


def test_elsewhere_lines_are_as_long_as_they_are() -> None:
    file = io.StringIO()
    wrap = WordWrap(Console(file=file, width=10))
    for piece in ("[b]aaa", " bbbbbbbbbb", " ccc "):
        wrap.write(piece, "green")
    assert file.getvalue() == "[b]aaa bbbbbbbbbb ccc "
