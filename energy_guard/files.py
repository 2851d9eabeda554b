"""Files that are there whole or not at all, and that one process at a time writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from energy_guard.errors import InputError


def write_whole(path: Path, text: str) -> None:
    """Write a file, or leave what is there as it is; OSError where it cannot be written."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    part.replace(path)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the operating system's lock on a file, made where it does not exist, meanwhile.

    The lock ends with the process that holds it; the file stays and means nothing. Raises
    InputError where somebody else holds it.
    """
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
