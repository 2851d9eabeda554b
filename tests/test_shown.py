"""Reasoning is not shown: not in a result, not in a stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard import Guard, Policy
from energy_guard.backends import Scripted
from energy_guard.events import Done, Retracted, Text
from energy_guard.shown import ShownStream, shown_text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Paris", "Paris"),
        (" Paris \n", " Paris \n"),
        ("<think>Lyon?</think>Paris", "Paris"),
        (" <think>Lyon?</think>\n\n Paris ", "Paris "),
        ("Lyon?</think> Paris", "Paris"),
        ("It is <think>Lyon?</think>Paris", "It is Paris"),
        ("It is <think>Lyon?", "It is "),
        ("<think>Lyon?", ""),
        ("<think>a</think> <think>b</think> c", "c"),
        ("a < b and <b>c</b>", "a < b and <b>c</b>"),
    ],
)
def test_a_text_is_shown_without_reasoning(written: str, shown: str) -> None:
    assert shown_text(written) == shown


def test_reasoning_that_the_prompt_opens_is_not_shown() -> None:
    assert shown_text("Lyon?</think>Paris", reasoning_open=True) == "Paris"
    assert shown_text("Lyon?", reasoning_open=True) == ""


PARTS = st.sampled_from(
    ["<think>", "</think>", "<", "thi", "nk>", "</", " ", "\n", "a", "Paris", "<b>", "é", "2 < 3"]
)


@given(st.lists(PARTS, max_size=12), st.booleans())
def test_a_stream_shows_in_the_end_what_the_whole_text_shows(
    parts: list[str], opened: bool
) -> None:
    stream = ShownStream(opened)
    seen = ""
    for number, part in enumerate([*parts, None]):
        pieces = stream.finish() if part is None else stream.push([number], part)
        if stream.retracted:
            seen, stream.retracted = "", False
        seen += "".join(piece.text for piece in pieces)
    assert seen == shown_text("".join(parts), opened)


def test_a_streamed_text_never_has_reasoning_in_it() -> None:
    pieces = ["<thi", "nk>", "Lyon", "?</th", "ink>", "\n\n", "Par", "is"]
    backend = Scripted.saying([(piece, 0.97) for piece in pieces])
    events = list(Guard(backend).stream("Which city?"))
    assert [e.text for e in events if isinstance(e, Text)] == ["Par", "is"]
    assert not any(isinstance(e, Retracted) for e in events)
    done = events[-1]
    assert isinstance(done, Done)
    assert done.result.text == "Paris"
    assert done.result.answer == "".join(pieces)


def test_reasoning_that_only_its_end_tells_is_taken_back() -> None:
    backend = Scripted.saying([("Lyon", 0.97), ("?</think>", 0.97), ("Paris", 0.97)])
    events = list(Guard(backend).stream("Which city?"))
    kinds = [type(event).__name__ for event in events]
    assert kinds == ["AttemptStarted", "Text", "Retracted", "Text", "Done"]
    assert [e.text for e in events if isinstance(e, Text)] == ["Lyon", "Paris"]


def test_an_answer_of_reasoning_alone_is_no_text_even_if_it_is_shown_unscored() -> None:
    backend = Scripted.saying([("<think>Lyon", 0.97)])
    result = Guard(backend, Policy(detector="nll:max", unscored="show")).ask("Which city?")
    assert (result.shown, result.text, result.verdict) == (True, "", "unscored")
