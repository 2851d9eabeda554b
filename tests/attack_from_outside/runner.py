"""Has cases tried in child processes that may die, hang or grow, and counts what held."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .case import Kind, short
from .kinds import WITH_ITSELF

_START_S: Final = 180.0
"""For a process to begin: imports on a busy machine."""

_LOOK_S: Final = 0.2
_BATCH: Final = 100
"""Cases of one process: what it leaves behind is not taken along for ever."""


@dataclass(frozen=True)
class Failure:
    """A case that did not hold."""

    kind: str
    seed: int
    number: int
    what: str
    why: str

    def __str__(self) -> str:
        again = f"make attack ARGS='--only {self.kind} --seed {self.seed} --case {self.number}'"
        return f"{self.kind} {self.number}: {short(self.what)}\n  {short(self.why)}\n  {again}"


@dataclass
class Tally:
    """What became of the cases of one kind; refused: held by an error of the product's own."""

    name: str
    tried: int = 0
    refused: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    @property
    def held(self) -> int:
        return self.tried - len(self.failures)


def attack(
    name: str,
    *,
    seed: int,
    folder: Path,
    numbers: Sequence[int] | None = None,
    at_once: int = 2,
    on_failure: Callable[[Failure], object] = lambda _: None,
) -> Tally:
    """Try cases of one kind: all of them, or those with these numbers."""
    kind, began = WITH_ITSELF[name], time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    kind.prepare(folder)
    wanted = [*range(kind.count)] if numbers is None else [*numbers]
    size = max(1, min(_BATCH, -(-len(wanted) // at_once)))
    batches = [wanted[at : at + size] for at in range(0, len(wanted), size)]
    tally = Tally(name)
    with ThreadPoolExecutor(at_once) as pool:
        tries = (_Tries(name, kind, seed=seed, folder=folder) for _ in batches)
        for tried in pool.map(lambda one, batch: [*one.of(batch)], tries, batches):
            for outcome in tried:
                tally.tried += 1
                if isinstance(outcome, Failure):
                    tally.failures.append(outcome)
                    on_failure(outcome)
                elif outcome == "refused":
                    tally.refused += 1
    tally.seconds = time.monotonic() - began
    return tally


class _Tries:
    """One process after the other, until every case of a batch has an outcome."""

    def __init__(self, name: str, kind: Kind, *, seed: int, folder: Path) -> None:
        self._name, self._kind, self._seed, self._folder = name, kind, seed, folder

    def of(self, numbers: list[int]) -> Iterator[str | Failure]:
        left = [*numbers]
        while left:
            for outcome in self._process(left):
                yield outcome
                del left[0]

    def _process(self, numbers: list[int]) -> Iterator[str | Failure]:
        """The outcomes of the first cases, up to one that the process did not survive."""
        said = self._folder / f"{self._name}-{numbers[0]}.stderr"
        command = [sys.executable, "-m", "attack_from_outside.worker", self._name]
        command += [str(self._seed), str(self._folder), *map(str, numbers)]
        with said.open("wb") as errors:
            worker = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_environment(self._folder),
                start_new_session=True,
            )
        trying: tuple[int, str] | None = None
        watched = _Watched(worker, _START_S, self._kind.limit_mib)
        try:
            for line in watched.lines():
                report = json.loads(line)
                if "held" in report:
                    yield report["held"]
                    trying, watched.limit = None, _START_S
                else:
                    trying = report["number"], report["what"]
                    watched.limit = self._kind.limit_s
            status = worker.wait()
            if status == 0 and trying is None:
                return
            why = f"the process ended with status {status}: {_end_of(said)}"
        except _TooMuchError as error:
            why = str(error)
        finally:
            _end(worker)
        if trying is None:
            raise RuntimeError(f"{self._name}: no case was being tried, and {why}")
        yield Failure(self._name, self._seed, *trying, why)


class _TooMuchError(Exception):
    """A case takes more time or memory than it may."""


@dataclass
class _Watched:
    """A worker that may be silent for so many seconds, and hold so much memory."""

    worker: subprocess.Popen[bytes]
    limit: float
    most_mib: int

    def lines(self) -> Iterator[bytes]:
        """Yield what it reports; _TooMuchError when it is silent for too long, or grows."""
        assert self.worker.stdout is not None
        channel, begun, open_line = self.worker.stdout.fileno(), time.monotonic(), b""
        while True:
            ready, _, _ = select.select([channel], [], [], _LOOK_S)
            if ready:
                read = os.read(channel, 65536)
                if not read:
                    return
                *whole, open_line = (open_line + read).split(b"\n")
                yield from whole
                begun = time.monotonic()
            elif time.monotonic() - begun > self.limit:
                raise _TooMuchError(f"no end after {self.limit:g} s")
            largest = max(map(_mib, _tree(self.worker.pid)), default=0)
            if largest > self.most_mib:
                raise _TooMuchError(f"{largest} MiB of memory")


def _tree(pid: int) -> Iterator[int]:
    """The process and all below it, as far as they are still there."""
    yield pid
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = file.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _tree(int(child))


def _mib(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has ended
        return 0
    return pages * os.sysconf("SC_PAGESIZE") // 2**20


def _end(worker: subprocess.Popen[bytes]) -> None:
    """End the process and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    assert worker.stdout is not None
    worker.stdout.close()


def _end_of(file: Path) -> str:
    """The last lines of what a process said."""
    return " | ".join(file.read_text("utf-8", "replace").strip().splitlines()[-3:])


def _environment(folder: Path) -> dict[str, str]:
    """A home of their own: nobody's profiles are found, and none is written."""
    homes = {f"XDG_{what}_HOME": str(folder / what.lower()) for what in ("CACHE", "DATA")}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OPENBLAS_NUM_THREADS"), "1")
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return {**os.environ, **homes, **threads, **path, "HF_HUB_OFFLINE": "1"}
