"""Model files that were opened in a child process before this one, because llama.cpp may die.

It checks much of a file with assertions, which end the process. A file is tried once: that it
was, with this very size, time and build of llama.cpp, is remembered in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

from energy_guard.errors import EngineError, ModelFileError

REBUILD: Final = (
    'CMAKE_ARGS="-DGGML_NATIVE=OFF" '
    "pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python llama-cpp-python"
)
"""Builds llama.cpp without the instructions of this very processor, which crash on some."""

_LIMIT_S: Final = 300.0
_REFUSED: Final = 3
"""The trial's exit status when llama.cpp refuses the file itself, as loading then does."""

_OWN_FAILURES: Final = (1, 2)
"""Exit statuses of a Python that cannot run the trial at all."""

_WHY: Final = re.compile(r"GGML_ASSERT\(.*|what\(\):.*")


def check_loads(path: Path) -> None:
    """Raise an error for a file that ends the process which loads it or encodes a text with it.

    Raises:
        ModelFileError: the file does.
        EngineError: this build of llama.cpp does, whatever the file.
    """
    mark = _mark(path)
    if mark.exists():
        return
    # By path, and with -P: neither this package nor the folder beside the file is imported.
    command = [sys.executable, "-P", str(Path(__file__).with_name("trial.py")), str(path)]
    try:
        child = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
            check=False,
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},  # it would start a debugger for one
        )
    except subprocess.TimeoutExpired as error:
        raise ModelFileError(
            f"llama.cpp does not come to an end with {path} within {_LIMIT_S:g} s"
        ) from error
    if child.returncode == -signal.SIGILL:
        raise EngineError(
            "llama.cpp was built for another processor and crashes on this one (SIGILL)",
            f"Build it again:\n  {REBUILD}",
        )
    if child.returncode in _OWN_FAILURES:
        raise EngineError(f"llama.cpp cannot be tried: {child.stderr.strip()}")
    if child.returncode not in (0, _REFUSED):
        raise _crashed(path, child)
    if child.returncode == 0:
        _remember(mark)


def _crashed(path: Path, child: subprocess.CompletedProcess[str]) -> ModelFileError:
    if child.stdout.strip() == "vocabulary":
        return ModelFileError(
            f"the vocabulary of {path} lacks tokens for single bytes, and llama.cpp ends the "
            "process at a text that needs one",
            "Convert the model again with all of its tokens, or load it with transformers.",
        )
    why = _WHY.search(child.stderr)
    return ModelFileError(
        f"llama.cpp ends the process that loads {path}: {why[0] if why else child.returncode}",
        "The file is damaged, or not made for this llama-cpp-python: download it again.",
    )


def _mark(path: Path) -> Path:
    """An empty file that is there if this very file was tried with this llama.cpp."""
    stat = path.stat()
    told = (path.resolve(), stat.st_size, stat.st_mtime_ns, version("llama-cpp-python"))
    name = hashlib.sha256(repr(told).encode()).hexdigest()[:32]
    return user_cache_path("energy-guard", appauthor=False) / "tried" / name


def _remember(mark: Path) -> None:
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError:  # no place to write: it is tried again next time
        return
