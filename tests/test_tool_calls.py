from __future__ import annotations

import pytest

from energy_guard.energy import Row
from energy_guard.tool_calls import is_call, passed_values, tagged_calls
from energy_guard.trace import Step, Trace

CALL = '{"name": "pay", "arguments": {"to": "Bob", "sum": [1, 2]}}'


def trace_of(text: str) -> Trace:
    row = Row(2.0, 0.0, 0.1, 1.0)
    steps = [Step(0, character.encode(), 1.0, row) for character in text]
    return Trace.from_steps(steps, row)


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        (CALL, ["pay", "Bob", "1", "2"]),
        (f"[{CALL}]", ["pay", "Bob", "1", "2"]),
        (f"Sure.\n<tool_call>\n{CALL}\n</tool_call> Done.", ["pay", "Bob", "1", "2"]),
        (f"I call it.\n```json\n{CALL}\n```", ["pay", "Bob", "1", "2"]),
        (f"I call it.\n{CALL}", ["pay", "Bob", "1", "2"]),
        ("{" + CALL + "}", ["pay", "Bob", "1", "2"]),
        (f"<tools>{CALL}</tools>", ["pay", "Bob", "1", "2"]),
        (f"{CALL}\n{CALL}", ["pay", "Bob", "1", "2"] * 2),
        (f"<tool_call>{{{CALL}}}</tool_call>", ["pay", "Bob", "1", "2"]),
        (f"```json\n{CALL}\n```\nDone.", ["pay", "Bob", "1", "2"]),
        (f"<tool_call>{CALL}", ["pay", "Bob", "1", "2"]),
        ("<tool_call>pay(900)</tool_call>", ["pay(900)"]),
        (f"<think><tool_call>{CALL}</tool_call></think> No.", ["pay", "Bob", "1", "2"]),
        (f"[THINK]<tool_call>{CALL}[/THINK] No.", ["pay", "Bob", "1", "2"]),
        (f"<think>Hm. {CALL} or {CALL}?</think> No.", ["pay", "Bob", "1", "2"] * 2),
        ('<|channel|>commentary to=functions.pay <|message|>{"to": "Bob"}<|call|>', ["Bob"]),
        ("<think>[TOOL_CALLS] pay(900)</think> No.", ["pay(900)"]),
        (f"<think>{CALL}</think><tool_call>go</tool_call>", ["go", "pay", "Bob", "1", "2"]),
        ('<think>{"name": {"name": "Bob"}, "age": [9}</think> No.', []),
        (CALL.replace("Bob", "<think>Bob</think>"), ["pay", "<think>Bob</think>", "1", "2"]),
        (f"<think>Hm.</think><tool_call>{CALL}</tool_call>", ["pay", "Bob", "1", "2"]),
        (f"I would write {CALL}", []),
        (r'{"name": "pay", "arguments": "{\"to\": 9}"}', ["pay", r"{\"to\": 9}"]),
        ('{"name": "pay", "arguments": {"to": 1, "to": 2}}', ["pay", "1", "2"]),
        ('{"name": "Bob", "age": 9}', []),
        ("Paris", []),
    ],
)
def test_the_values_of_every_call_are_found(text: str, passed: list[str]) -> None:
    assert [span.text for span in passed_values(trace_of(text))] == passed


def test_two_calls_stand_where_they_were_written() -> None:
    text = "a<tool_call>b</tool_call>c<tool_call>d"
    calls = tagged_calls(trace_of(text))
    assert [(text[a:b], text[c:d]) for (a, b), (c, d) in calls] == [
        ("<tool_call>b</tool_call>", "b"),
        ("<tool_call>d", "d"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "[1]", "[" * 9999),
        '{"name": 1, "arguments": {}}',
        '{"name": "pay", "arguments": "9"}',
        '{"name": "pay", "arguments": "to Bob"}',
    ],
)
def test_other_texts_are_no_calls(text: str) -> None:
    assert not is_call(text)
