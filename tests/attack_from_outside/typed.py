"""The command line as it is typed, each time in a fork of a process that has imported it."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Final

import llama_cpp  # noqa: F401  # loaded once, for all forks
import llguidance  # noqa: F401

from energy_guard.cli import main

_FORKS: Final = multiprocessing.get_context("fork")
STDOUT, STDERR = "stdout.txt", "stderr.txt"


def start(args: Sequence[str], folder: Path, typed: bytes = b"") -> ForkProcess:
    """Begin `energy-guard ARGS` in a folder, where what it prints is put into files."""
    process = _FORKS.Process(target=_run, args=([*args], folder, typed))
    process.start()
    return process


def end_of(process: ForkProcess, seconds: float) -> int:
    """Wait for the exit status; AssertionError if there is none in this time."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"no end after {seconds:g} s")
    return process.exitcode


def said(folder: Path, name: str = STDERR) -> str:
    """What the command printed."""
    return (folder / name).read_text("utf-8", "replace")


def as_typed(args: Sequence[str]) -> str:
    """The command as a person would type it."""
    return shlex.join(["energy-guard", *args])


def _run(args: list[str], folder: Path, typed: bytes) -> None:
    os.chdir(folder)
    reading, writing = os.pipe()
    if not os.fork():  # whatever is typed may be longer than a pipe holds
        os.close(reading)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(typed)
        os._exit(0)
    os.close(writing)
    os.dup2(reading, 0)
    for number, name in ((1, STDOUT), (2, STDERR)):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.stdin = os.fdopen(0)
    sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
    sys.argv = ["energy-guard", *args]
    main()
