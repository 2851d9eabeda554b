"""Files that are there whole or not at all, and that one process at a time writes.

Whatever is written here may hold prompts: new files can be read by their owner alone.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydantic_core import from_json

from energy_guard.errors import InputError, LogError
from energy_guard.extras import needs_extra
from energy_guard.json_text import KeyTwiceError, read_json

OWNER_ONLY: Final = 0o600
"""The mode of new files. A umask can take bits away from it, and cannot add any."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that is on disk when this returns, or leave what is there as it is.

    Args:
        path: The file; if it is there, the new one takes its place.
        content: All that it is to hold; text is written as UTF-8.

    Raises:
        OSError: The file cannot be written.
    """
    with writing_whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """Write a file bit by bit as `write_whole` does; an error inside leaves what is there, too.

    Args:
        path: The file; if it is there, the new one takes its place in the end.

    Yields:
        What to write to.

    Raises:
        OSError: The file cannot be written.
    """
    # A name that nobody can foresee, opened with O_EXCL: a link planted there is not followed.
    descriptor, name = tempfile.mkstemp(".part", f"{path.name}.", path.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)


@dataclass(frozen=True)
class Line:
    """One line of a file of JSON objects.

    number: from 1. data: the object; None if the line was not written to its end. ended: whether
    something follows, a line break or another object.
    """

    number: int
    data: dict[str, Any] | None
    ended: bool


@dataclass(frozen=True)
class JsonLines:
    """A file of JSON objects, one a line, to which a process may be killed while it writes.

    way_out: what to do if the file cannot be written; the hint of that error.
    """

    path: Path
    way_out: str = "Make room, or give another file."

    def make(self) -> None:
        """Make the file if it does not exist; LogError if it cannot be written."""
        try:
            self._make()
            self.path.open("ab").close()
        except OSError as error:
            raise self._unwritable(error) from error

    def append(self, *objects: Mapping[str, Any]) -> None:
        """Add objects, which are on disk when this returns; LogError if that fails."""
        lines = b"".join(map(_to_line, objects))
        try:
            self._make()
            with self.path.open("ab") as file:
                file.write(lines if self._is_ended() else b"\n" + lines)
                file.flush()
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # a pipe cannot be synced
                    os.fsync(file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def rewrite(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Put these in the place of all that is there, or change nothing and raise LogError."""
        try:
            write_whole(self.path, b"".join(map(_to_line, objects)))
        except OSError as error:
            raise self._unwritable(error) from error

    def lines(self) -> Iterator[Line]:
        """Yield every line that is not blank; one that was cut off has no data.

        Raises:
            InputError: The file cannot be read, or a line is no JSON object; names file and line.
        """
        try:
            raws = self.path.read_bytes().split(b"\n")  # not at U+2028 and the like
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}") from error
        for number, raw in enumerate(raws, 1):
            try:
                found = _read(raw) if raw.strip() else []
            except InputError as error:
                raise self.wrong(number, error.message) from error
            for data in found:
                yield Line(number, data, ended=number < len(raws) or len(found) > 1)

    def objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the objects with the numbers of their lines, but for a last one without line break.

        Raises:
            InputError: As `lines` does, and for another line that was cut off.
        """
        for line in self.lines():
            if line.ended:
                if line.data is None:
                    raise self.wrong(line.number, "this was not written to its end")
                yield line.number, line.data

    def drop_cut_end(self) -> None:
        """Remove what stands behind the last line break; the rest stays as it is."""
        os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)

    def wrong(self, number: int, what: str, hint: str = "") -> InputError:
        """Return the error that names this file and one of its lines."""
        return InputError(f"{self.path}, line {number}: {what}", hint)

    def _make(self) -> None:
        if not self.path.exists():
            self.path.touch(OWNER_ONLY)
            _sync_folder(self.path.parent)

    def _is_ended(self) -> bool:
        """Whether the next object begins a line; a line that was cut off is ended first."""
        if not self.path.is_file() or not self.path.stat().st_size:
            return True
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _unwritable(self, error: OSError) -> LogError:
        return LogError(f"cannot write to {self.path}: {error.strerror}", self.way_out)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the operating system's lock on a file meanwhile; the file is made if it is missing.

    The lock ends with the process that holds it; the file stays and means nothing.

    Raises:
        InputError: Another process holds it.
        MissingExtraError: filelock is not installed.
    """
    with needs_extra("eval"):
        from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"another run is at work here: it holds {path}",
            "Wait until it has ended, or give another --out.",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _to_line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _read(raw: bytes) -> list[dict[str, Any] | None]:
    """The objects in a line, most often one; None for one that was not written to its end.

    Older versions appended right behind what was cut off. Raises InputError for anything else.
    """
    try:
        data = read_json(raw.decode())
    except KeyTwiceError as error:
        raise InputError(str(error)) from error
    except (ValueError, RecursionError) as error:
        behind = _behind_a_cut(raw)
        if behind is not None:
            return [None, behind]
        if _is_beginning(raw):
            return [None]
        raise InputError(f"this is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError("this is not an object")
    return [data]


def _behind_a_cut(raw: bytes) -> dict[str, Any] | None:
    """The whole object at the end of a line that begins as the line does, or None.

    A part of an object cannot be taken for one: behind its end the rest of the object follows.
    """
    opening = raw[: raw.find(b":") + 1]
    at = raw.find(opening, 1) if opening.startswith(b"{") else -1
    while at > 0:
        try:
            data = read_json(raw[at:].decode())
        except (ValueError, RecursionError):
            at = raw.find(opening, at + 1)
        else:
            return data if isinstance(data, dict) else None
    return None


def _is_beginning(raw: bytes) -> bool:
    """Whether these bytes are the beginning of an object that goes on."""
    try:
        text = getincrementaldecoder("utf-8")().decode(raw)  # the cut may go through a character
    except UnicodeDecodeError:
        return False
    try:
        json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        pass
    else:
        return False  # a whole value, with something else behind it
    try:
        return isinstance(from_json(text, allow_partial=True), dict)
    except ValueError:
        return False


def _sync_folder(folder: Path) -> None:
    """Have the folder's list of names on disk, too: a new file is lost without its name."""
    if hasattr(os, "O_DIRECTORY"):  # Windows neither can nor has to
        descriptor = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
