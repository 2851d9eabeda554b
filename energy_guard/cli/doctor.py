"""`energy-guard doctor`: does this machine do it right, and how fast?"""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import typer
from rich.console import Console
from rich.text import Text

from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.llama_cpp.load import supports_gpu_offload
from energy_guard.backends.llama_cpp.selfcheck import self_check
from energy_guard.cli.options import Json, Model, NCtx, NGpuLayers, NThreads, open_backend
from energy_guard.errors import EnergyGuardError
from energy_guard.request import Request

REBUILD: Final = (
    'CMAKE_ARGS="-DGGML_NATIVE=OFF" '
    "pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python llama-cpp-python"
)
"""Builds llama.cpp without the instructions of this very processor, which crash on some."""

_TOLERANCE: Final = 1e-3
_PROBE_LIMIT_S: Final = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ok is None where there is nothing to judge."""

    what: str
    ok: bool | None
    detail: str


def doctor(
    model: Model = "demo",
    n_ctx: NCtx = None,
    n_gpu_layers: NGpuLayers = None,
    n_threads: NThreads = None,
    as_json: Json = False,
) -> None:
    """Check the installation with a model: versions, one token, right rows, time a token.

    Exit status 1 where something is wrong, with what to do about it.
    """
    console = Console(soft_wrap=True)
    findings = []
    for finding in _examine(model, n_ctx, n_gpu_layers, n_threads):
        findings.append(finding)
        if not as_json:
            mark, style = _MARKS[finding.ok]
            console.print(Text.assemble((mark, style), f" {finding.what}: {finding.detail}"))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)


_MARKS: Final = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("·", "dim")}


def _examine(
    model: str, n_ctx: int | None, n_gpu_layers: int | None, n_threads: int | None
) -> Iterator[Finding]:
    yield Finding("system", None, f"Python {platform.python_version()}, {platform.platform()}")
    for package in ("energy-guard", "numpy", "llama-cpp-python"):
        yield _version(package)
    try:
        offload = supports_gpu_offload()
        yield Finding(
            "GPU offload", None, "supported" if offload else "not in this build: CPU only"
        )
        probe = _probe(model)
        yield probe
        if not probe.ok:
            return  # what crashed there would crash here
        backend = open_backend(model, None, n_ctx, n_gpu_layers, n_threads)
        info = backend.info
        yield Finding("model", True, f"{info.name}, fingerprint {info.fingerprint}")
        if isinstance(backend, LlamaCpp):
            yield from _rows(backend)
    except EnergyGuardError as error:
        yield Finding("stopped", False, str(error))


def _version(package: str) -> Finding:
    try:
        return Finding(package, True, version(package))
    except PackageNotFoundError:
        return Finding(package, False, "not installed: pip install 'energy-guard[llama-cpp]'")


def _probe(model: str) -> Finding:
    """Decode one token in a child: a build that does not fit the processor dies there."""
    what = "one token, in a process of its own"
    command = [sys.executable, "-m", "energy_guard.cli.probe", model]
    try:
        child = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_PROBE_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(what, False, f"no token within {_PROBE_LIMIT_S} s")
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return Finding(what, False, f"llama.cpp crashed ({name}). Build it again:\n  {REBUILD}")
    if child.returncode:
        return Finding(what, False, child.stderr.strip())
    return Finding(what, True, "decoded")


def _rows(backend: LlamaCpp) -> Iterator[Finding]:
    check = self_check(backend, Request.raw("The three primary colours are", max_tokens=32))
    yield Finding(
        "rows against a second computation",
        check.difference <= _TOLERANCE,
        f"largest difference {check.difference:.1e} over {check.tokens} tokens (float64, no hook)",
    )
    yield Finding(
        "capture",
        None,
        f"{check.capture_s * 1e6:.0f} µs a token of {check.token_s * 1e3:.1f} ms "
        f"({check.capture_s / check.token_s:.1%})",
    )
