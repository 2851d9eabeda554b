from __future__ import annotations

import pytest

from energy_guard.json_text import KeyTwiceError, read_json, read_portable_json


def test_it_reads_what_python_reads() -> None:
    assert read_json('{"a": [1, 2.5, null, {"b": "é"}], "c": {}}') == {
        "a": [1, 2.5, None, {"b": "é"}],
        "c": {},
    }


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 1}', '{"b": 0, "a": 1, "a": null}', '[{"b": {"a": [], "b": 0, "a": {}}}]'],
)
def test_a_key_that_stands_twice_in_one_object_is_named(text: str) -> None:
    with pytest.raises(KeyTwiceError, match="'a' is given twice") as caught:
        read_json(text)
    assert caught.value.key == "a"


def test_a_key_may_stand_in_several_objects() -> None:
    assert read_json('{"a": {"a": 1}, "b": [{"a": 2}, {"a": 3}]}')["b"] == [{"a": 2}, {"a": 3}]


def test_what_every_reader_takes_for_the_same_is_portable() -> None:
    text = r'{"a": [1, -2.5e3, true, null, "\ud83d\ude00"], "é": {}}'
    assert read_portable_json(text) == {"a": [1, -2500.0, True, None, "😀"], "é": {}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[NaN]", "NaN is no value of JSON"),
        ('{"a": Infinity}', "Infinity is no value"),
        ("-Infinity", "-Infinity is no value"),
        ('{"a": 1e999}', "too large"),
        ("[-1.5e400]", "too large"),
        ('{"a": 1, "a": 1}', "'a' is given twice"),
        (r'["\ud800"]', "half a surrogate pair"),
        (r'{"\udfff": 1}', "half a surrogate pair"),
        ("{", "Expecting property name"),
    ],
)
def test_what_readers_take_differently_is_not_portable(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_portable_json(text)
