"""Regular expressions that would take all time or memory: refused before they are compiled."""

from __future__ import annotations

import pytest

from energy_guard.errors import ConfigError
from energy_guard.locate import locate_text

TOO_MUCH = {
    "a hundred million letters": "a{100000000}",
    "a hundred million groups": "(a|b){100000000}",
    "no more than a hundred million": "(?:ab){0,100000000}",
    "at least a hundred million": "(?:ab){100000000,}",
    "blanks in a repeat": "(?x)a{ 100000000 }",
    "a number too large for the engine": "a{1,99999999999999999999}",
    "repeats inside one another": "(((a|b){1000}){1000}){1000}",
    "twenty repeats inside one another": "(" * 20 + "a+" + ")+" * 20,
    "repeats without a lower limit inside one another": "(" * 20 + "a" + "){1,9}" * 20,
    "itself": "a(?R)?b",
    "its first group": "(a?(?1))",
    "a named group": "(?P<a>(?&b))(?P<b>(?&a))",
    "another spelling of a named group": "(?P<a>a(?P>a)?)",
    "deep brackets": "(" * 5000 + "a" + ")" * 5000,
    "brackets that pass the limit on length": "(?:" * 300 + "a" + ")" * 300,
    "sets inside one another": "[" * 900 + "a" + "]" * 900,
    "a million letters": "a" * 1_000_000,
    "many words": "|".join(f"word{i}" for i in range(20_000)),
}

UUID = "0f0f0f0f-beef-beef-beef-0a0a0a0a0a0a"


@pytest.mark.parametrize("what", TOO_MUCH)
def test_a_pattern_that_would_take_all_memory_is_refused(what: str) -> None:
    with pytest.raises(ConfigError, match="regex:") as caught:
        locate_text("?", "aaaa", locator=f"regex:{TOO_MUCH[what]}")
    assert len(str(caught.value)) < 200, "the message does not repeat a million letters"


@pytest.mark.parametrize(
    ("pattern", "text", "part"),
    [
        (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", f"id {UUID}", UUID),
        (r"(?:[A-Z][a-z]+ ?){1,5}", "in New York City", "New York City"),
        (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}", "at 2026-11-28T20:35", "2026-11-28T20:35"),
        (r"Answer:\s*(.{1,200})", "Answer: Paris", "Paris"),
        (r"((?:\d+,)+\d+)+", "1,2,3", "1,2,3"),
        (r"\(\?R\)", "(?R)", "(?R)"),
    ],
)
def test_patterns_of_use_are_taken(pattern: str, text: str, part: str) -> None:
    found = locate_text("?", text, locator=f"regex:{pattern}")
    assert found is not None
    assert [text[start:end] for start, end in found] == [part]
