"""Writes long answers and prints the peak memory: run by `bench` in a child process."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Final

from energy_guard.cli.bench_engines import BENCHES
from energy_guard.cli.options import BAD_INPUT, EngineOptions
from energy_guard.errors import InputError

_STATUS: Final = Path("/proc/self/status")
_FORGET: Final = Path("/proc/self/clear_refs")


def main(options: str, way: str, tokens: int) -> None:
    """Print the peak memory in KiB, and how many tokens were written."""
    engine = EngineOptions(**json.loads(options))
    bench = BENCHES[engine.kind](engine, tokens)
    run = bench.memory_run(way)
    bench.device_peak(forget=True)
    forget_peak()
    count = run()
    print(peak_kib() + bench.device_peak() // 1024, count)  # noqa: T201


def forget_peak() -> None:
    """Begin anew, where the system can: unpacking a file may take more than a run."""
    if _FORGET.exists():
        _FORGET.write_text("5")


def peak_kib() -> int:
    """Most memory that this process had resident."""
    if _FORGET.exists():
        lines = _STATUS.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    except InputError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(BAD_INPUT)
