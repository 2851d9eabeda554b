"""Model files that were opened in a child process before this one, because llama.cpp may die.

It checks much of a file with assertions, which end the process. A file is tried once: that it
was, with this very size, time and build of llama.cpp, is remembered in the user's cache. So is
an adapter with the model that it is applied to.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
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


def check_loads(path: Path, adapter: Path | None = None) -> None:
    """Raise an error for a file that ends the process which loads it or encodes a text with it.

    Args:
        path: the model file.
        adapter: a LoRA for it, if that is what is tried: a file that ends the process which
            evaluates a token with it.

    Raises:
        ModelFileError: the file does.
        EngineError: this build of llama.cpp does, whatever the file.
    """
    files = [path] if adapter is None else [path, adapter]
    mark = _mark(files)
    if mark.exists():
        return
    # By path, and with -P: neither this package nor the folder beside the file is imported.
    trial = str(Path(__file__).with_name("trial.py"))
    command = [sys.executable, "-P", trial, *map(str, files)]
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
            f"llama.cpp does not come to an end with {files[-1]} within {_LIMIT_S:g} s"
        ) from error
    if child.returncode == -signal.SIGILL:
        raise EngineError(
            "llama.cpp was built for another processor and crashes on this one (SIGILL)",
            f"Build it again:\n  {REBUILD}",
        )
    if child.returncode in _OWN_FAILURES:
        raise EngineError(f"llama.cpp cannot be tried: {child.stderr.strip()}")
    if child.returncode not in (0, _REFUSED):
        raise _crashed(path, adapter, child)
    if child.returncode == 0:
        _remember(mark)


def _crashed(
    path: Path, adapter: Path | None, child: subprocess.CompletedProcess[str]
) -> ModelFileError:
    if child.stdout.strip() == "vocabulary":
        return ModelFileError(
            f"the vocabulary of {path} lacks tokens for single bytes, and llama.cpp ends the "
            "process at a text that needs one",
            "Convert the model again with all of its tokens, or load it with transformers.",
        )
    found = _WHY.search(child.stderr)
    why = found[0] if found else child.returncode
    if adapter is not None:
        return ModelFileError(
            f"llama.cpp ends the process that applies {adapter} to {path}: {why}",
            "It must be a LoRA in GGUF, made for this very model.",
        )
    return ModelFileError(
        f"llama.cpp ends the process that loads {path}: {why}",
        "The file is damaged, or not made for this llama-cpp-python: download it again.",
    )


def _mark(files: Sequence[Path]) -> Path:
    """An empty file that is there if these very files were tried with this llama.cpp."""
    stats = [(path.resolve(), path.stat()) for path in files]
    known = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    told = (*known, version("llama-cpp-python"))
    name = hashlib.sha256(repr(told).encode()).hexdigest()[:32]
    return user_cache_path("energy-guard", appauthor=False) / "tried" / name


def _remember(mark: Path) -> None:
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError:  # no place to write: it is tried again next time
        return
