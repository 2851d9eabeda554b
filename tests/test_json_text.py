from __future__ import annotations

import pytest

from energy_guard.json_text import KeyTwiceError, read_json


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
