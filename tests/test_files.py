"""Files are there whole or not at all, for their owner alone, and what was cut off is told."""

from __future__ import annotations

import builtins
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from energy_guard.errors import InputError, LogError, MissingExtraError
from energy_guard.files import JsonLines, held, write_whole

OBJECTS: tuple[dict[str, Any], ...] = (
    {"id": "a", "text": "a\u2028b \n ü 🙂 {}", "numbers": [1, -2.5e-7, None, True]},
    {"id": "b", "inner": {"id": "a", "x": [{"id": 1}]}, "label": None},
)


@pytest.fixture
def store(tmp_path: Path) -> JsonLines:
    store = JsonLines(tmp_path / "s.jsonl")
    for data in OBJECTS:
        store.append(data)
    return store


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("way", ["whole", "append", "rewrite", "make"])
def test_a_new_file_is_its_owners_alone_whatever_the_umask(
    tmp_path: Path, umask: int, way: str
) -> None:
    path = tmp_path / "new"
    {
        "whole": lambda: write_whole(path, "text"),
        "append": lambda: JsonLines(path).append({}),
        "rewrite": lambda: JsonLines(path).rewrite([{}]),
        "make": lambda: JsonLines(path).make(),
    }[way]()
    assert mode(path) == 0o600


def test_appending_leaves_the_mode_that_the_owner_chose(store: JsonLines) -> None:
    store.path.chmod(0o640)
    store.append({})
    assert mode(store.path) == 0o640


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "p.json"
    victim.write_text("mine")
    (tmp_path / "p.json.part").symlink_to(victim)
    write_whole(path, "text")
    assert (victim.read_text(), path.read_text()) == ("mine", "text")


def test_two_writes_do_not_go_through_files_of_one_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    replace = Path.replace

    def seen(self: Path, target: Path) -> Path:
        names.append(self.name)
        assert mode(self) == 0o600
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", seen)
    for _ in range(2):
        write_whole(tmp_path / "x", "text")
    assert len(set(names)) == 2


def test_a_write_that_fails_leaves_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    write_whole(path, "before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "after")
    with pytest.raises(LogError, match="No space left"):
        JsonLines(path).rewrite([{}])
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
    assert path.read_text() == "before"


def test_file_and_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []

    def note(descriptor: int) -> None:
        synced.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    monkeypatch.setattr(os, "fsync", note)
    write_whole(tmp_path / "x", "text")
    assert synced == ["file", "folder"]
    synced.clear()
    for _ in range(2):
        JsonLines(tmp_path / "lines").append({})
    assert synced == ["folder", "file", "file"], "a new name is synced, and every line"


def test_objects_come_back_with_their_lines(store: JsonLines) -> None:
    assert list(store.objects()) == list(enumerate(OBJECTS, 1))
    assert len(store.path.read_bytes().splitlines()) == 2


def test_blank_lines_are_counted_and_no_objects(store: JsonLines) -> None:
    store.path.write_bytes(b"\n" + store.path.read_bytes() + b" \n")
    assert [number for number, _ in store.objects()] == [2, 3]


WHOLE = json.dumps(OBJECTS[0], ensure_ascii=False).encode()


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
def test_a_line_cut_off_at_any_byte_is_told_wherever_it_is(store: JsonLines, cut: int) -> None:
    part = WHOLE[:cut]
    store.path.write_bytes(WHOLE + b"\n" + part)
    assert [line.data for line in store.lines()] == [OBJECTS[0], None]
    assert list(store.objects()) == [(1, OBJECTS[0])]
    store.append(OBJECTS[1])
    assert [line.data for line in store.lines()] == [OBJECTS[0], None, OBJECTS[1]]
    with pytest.raises(InputError, match=r"s\.jsonl, line 2: .* to its end"):
        list(store.objects())


@pytest.mark.parametrize("cut", [7, 8, 20, 45, len(WHOLE) - 1])
def test_what_was_appended_right_behind_a_cut_is_read(store: JsonLines, cut: int) -> None:
    store.path.write_bytes(WHOLE[:cut] + WHOLE + b"\n" + WHOLE + b"\n")
    assert [line.data for line in store.lines()] == [None, OBJECTS[0], OBJECTS[0]]
    assert [line.number for line in store.lines()] == [1, 1, 2]


@pytest.mark.parametrize("cut", [1, 9, len(WHOLE)])
def test_what_lacks_its_line_break_is_dropped_and_nothing_else(store: JsonLines, cut: int) -> None:
    raw = store.path.read_bytes()
    store.path.write_bytes(raw + WHOLE[:cut])
    assert list(store.objects()) == list(enumerate(OBJECTS, 1))
    for _ in range(2):
        store.drop_cut_end()
        assert store.path.read_bytes() == raw


def test_a_whole_object_without_a_line_break_stays_when_one_is_appended(store: JsonLines) -> None:
    store.path.write_bytes(WHOLE)
    assert [line.data for line in store.lines()] == [OBJECTS[0]]
    store.append(OBJECTS[1])
    assert list(store.objects()) == list(enumerate(OBJECTS, 1))


NO_OBJECTS = (
    *(b"[]", b"[", b"7", b'"a', b"null", b"{'a'", b'{"a": 1}x', b'{"a" 1', b"[" * 9999, b"\xff{"),
    *(b'{"a": right}', b'{"a": 1,}'),
)


@pytest.mark.parametrize("raw", NO_OBJECTS)
def test_what_is_no_object_nor_the_beginning_of_one_is_named(store: JsonLines, raw: bytes) -> None:
    store.path.write_bytes(WHOLE + b"\n\n" + raw + b"\n")
    with pytest.raises(InputError, match=r"s\.jsonl, line 3: this is not"):
        list(store.lines())


def test_a_line_that_says_two_things_is_named(store: JsonLines) -> None:
    store.path.write_text('{"n": 1}\n{"n": {"p": 0.9, "p": 0.1}}\n')
    with pytest.raises(InputError, match="line 2: the key 'p' is given twice"):
        list(store.lines())


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    store = JsonLines(tmp_path / "no" / "s.jsonl", "Try another.")
    with pytest.raises(InputError, match=r"no/s\.jsonl"):
        list(store.lines())
    for write in (store.make, lambda: store.append({}), lambda: store.rewrite([{}])):
        with pytest.raises(LogError, match=r"no/s\.jsonl") as caught:
            write()
        assert caught.value.hint == "Try another."


def test_a_pipe_can_be_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        JsonLines(path).append({"a": 1})
        assert os.read(reader, 99) == b'{"a": 1}\n'
    finally:
        os.close(reader)


def test_holding_a_file_without_filelock_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def bare(name: str, *args: Any) -> Any:
        if name == "filelock":
            raise ModuleNotFoundError("No module named 'filelock'", name=name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", bare)
    with pytest.raises(MissingExtraError, match="filelock") as caught, held(tmp_path / "lock"):
        pytest.fail("nothing was held")
    assert "energy-guard[eval]" in caught.value.hint
