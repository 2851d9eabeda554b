"""Servers as processes of their own, for benchmarks that ask them over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

_START_S: Final = 120.0
_END_S: Final = 30.0
_RUNNING: Final = "running on "


@dataclass(frozen=True)
class Process:
    """What the system says of a process.

    resident: MiB of memory. threads, files: how many it has, and how many it has open.
    """

    resident: float
    threads: int
    files: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """Look at a process (Linux only)."""
        proc = Path(f"/proc/{pid}")
        status = dict(
            line.split(":", 1) for line in (proc / "status").read_text("utf-8").splitlines()
        )
        return cls(
            resident=int(status["VmRSS"].split()[0]) / 1024,
            threads=int(status["Threads"]),
            files=len(list((proc / "fd").iterdir())),
        )


@dataclass(frozen=True)
class Serving:
    """A server that runs. url: its root. pid: of its process."""

    url: str
    pid: int

    def process(self) -> Process:
        """What the system says of it now."""
        return Process.of(self.pid)

    def processor_s(self) -> float:
        """Return the seconds of processor time that it has used, to a hundredth."""
        stat = Path(f"/proc/{self.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def metric(self, name: str) -> float:
        """Return one of its numbers for Prometheus, which has no labels."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        [value] = [line.split()[1] for line in lines if line.startswith(f"{name} ")]
        return float(value)


@contextmanager
def serving(module: str, options: Sequence[str]) -> Iterator[Serving]:
    """Run a server for a while, on a free port.

    Args:
        module: what `python -m` runs; its web server has to be uvicorn, which says where it is.
        options: of its command line.

    Raises:
        SystemExit: if it does not start.
    """
    with tempfile.NamedTemporaryFile("r", suffix=".log") as log:
        command = [sys.executable, "-m", module, *options, "--port", "0"]
        with Path(log.name).open("w") as said:  # a pipe that nobody reads would stop it
            child = subprocess.Popen(command, stdout=said, stderr=said)  # noqa: S603
        try:
            yield Serving(_url(child, Path(log.name)), child.pid)
        finally:
            child.terminate()
            child.wait(_END_S)


def _url(child: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and child.poll() is None:
        said = log.read_text("utf-8", errors="replace")
        if _RUNNING in said:
            return said.split(_RUNNING)[1].split()[0]
        time.sleep(0.05)
    raise SystemExit(f"the server did not start: {log.read_text('utf-8', errors='replace')}")
