"""Stored contributions: read once, never put to another answer or model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import byte_tokenizer, tiny_model

from energy_guard.backends.transformers import Transformers
from energy_guard.errors import InputError, LogError
from energy_guard.neurons import AnswerToRead, store
from energy_guard.neurons.store import stored_contributions
from energy_guard.request import Request

REQUEST = Request(ids=tuple(b"the cat sat on"))
ANSWERS = {
    "a": AnswerToRead(REQUEST, tuple(b" the mat"), (5, 6)),
    "b/../b": AnswerToRead(REQUEST, tuple(b"x"), (0,)),
}


@pytest.fixture(scope="module")
def backend() -> Transformers:
    return Transformers(tiny_model(), byte_tokenizer())


def test_what_is_stored_is_not_read_again(
    backend: Transformers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stored_contributions(backend, ANSWERS, folder=tmp_path / "folder")
    assert len(list((tmp_path / "folder").iterdir())) == 2
    monkeypatch.setattr(store, "read_contributions", None)
    names: list[str] = []
    again = stored_contributions(backend, ANSWERS, folder=tmp_path / "folder", on_read=names.append)
    assert names == list(again) == list(first) == list(ANSWERS)
    for name in ANSWERS:
        np.testing.assert_array_equal(again[name].exact, first[name].exact)
    one, other = again["a"].rest, first["a"].rest
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one, other)
    assert again["b/../b"].rest is None


def test_only_what_is_missing_is_read(backend: Transformers, tmp_path: Path) -> None:
    stored_contributions(backend, {"a": ANSWERS["a"]}, folder=tmp_path)
    names: list[str] = []
    found = stored_contributions(
        backend, dict(reversed(ANSWERS.items())), folder=tmp_path, on_read=names.append
    )
    assert names == ["a", "b/../b"], "what is there counts first"
    assert list(found) == ["b/../b", "a"]


@pytest.mark.parametrize("change", ["answer", "exact", "model", "prompt"])
def test_contributions_to_something_else_are_read_anew(
    backend: Transformers, tmp_path: Path, change: str
) -> None:
    [before] = stored_contributions(backend, {"a": ANSWERS["a"]}, folder=tmp_path).values()
    answer = {
        "answer": AnswerToRead(REQUEST, tuple(b" one mat"), (5, 6)),
        "exact": AnswerToRead(REQUEST, tuple(b" the mat"), (6, 7)),
        "model": ANSWERS["a"],
        "prompt": AnswerToRead(Request(ids=tuple(b"the dog sat on")), tuple(b" the mat"), (5, 6)),
    }[change]
    if change == "model":
        backend = Transformers(tiny_model(seed=1), byte_tokenizer())
    [after] = stored_contributions(backend, {"a": answer}, folder=tmp_path).values()
    assert not np.array_equal(before.exact, after.exact)


def test_a_file_that_holds_something_else_is_named(backend: Transformers, tmp_path: Path) -> None:
    stored_contributions(backend, {"a": ANSWERS["a"]}, folder=tmp_path)
    [file] = tmp_path.iterdir()
    file.write_bytes(b"something else")
    with pytest.raises(InputError, match=f"{file.name} holds no contributions"):
        stored_contributions(backend, {"a": ANSWERS["a"]}, folder=tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(backend: Transformers, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LogError, match="cannot write to"):
        stored_contributions(backend, ANSWERS, folder=tmp_path / "file" / "folder")
