"""`energy-guard doctor`: does this machine do it right, and how fast?"""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Final

import typer
from rich.text import Text

from energy_guard.backends import Backend
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.llama_cpp.load import supports_gpu_offload
from energy_guard.backends.llama_cpp.selfcheck import self_check as check_llama_cpp
from energy_guard.backends.llama_cpp.tried import REBUILD
from energy_guard.backends.selfcheck import SelfCheck
from energy_guard.backends.transformers import Transformers
from energy_guard.backends.transformers.load import devices
from energy_guard.backends.transformers.selfcheck import self_check as check_transformers
from energy_guard.backends.vllm import Vllm
from energy_guard.backends.vllm.selfcheck import self_check as check_vllm
from energy_guard.cli.bundle import bundled
from energy_guard.cli.options import EngineOptions, Json
from energy_guard.cli.screen import Console, say_json
from energy_guard.errors import EnergyGuardError
from energy_guard.request import Request

_PROBE_LIMIT_S: Final = 300


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was looked at. ok is None if there is nothing to judge."""

    what: str
    ok: bool | None
    detail: str


@bundled(without=("served_model",))
def doctor(
    engine: EngineOptions,
    *,
    as_json: Json = False,
) -> None:
    """Check the installation with a model: versions, one token, right rows, time a token.

    The exit status is 1 if something is wrong, and the command says what to do about it.
    """
    engine.check_is_here("doctor")
    console = Console(soft_wrap=True)
    findings = []
    for finding in _examine(engine):
        findings.append(finding)
        if not as_json:
            mark, style = _MARKS[finding.ok]
            console.print(Text.assemble((mark, style), f" {finding.what}: {finding.detail}"))
    if as_json:
        say_json([asdict(finding) for finding in findings])
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)


_MARKS: Final = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("·", "dim")}


_PACKAGES: Final = {
    "llama-cpp": ("llama-cpp-python",),
    "transformers": ("torch", "transformers", "accelerate"),
}


def _examine(options: EngineOptions) -> Iterator[CheckResult]:
    yield CheckResult("system", None, f"Python {platform.python_version()}, {platform.platform()}")
    for package in ("energy-guard", "numpy"):
        yield _version(package, options.kind)
    for backend, packages in _PACKAGES.items():
        for package in packages:
            yield _version(package, backend, needed=backend == options.kind)
    if options.kind == "vllm":  # its builds for other devices have names of their own
        yield _version(packages_distributions().get("vllm", ["vllm"])[0], "vllm")
    try:
        yield _devices(options.kind)
        probe = _probe(options)
        yield probe
        if not probe.ok:
            return  # what crashed there would crash here
        engine = options.open()
        yield CheckResult(
            "model", True, f"{engine.info.name}, fingerprint {engine.info.fingerprint}"
        )
        yield from _rows(engine)
    except EnergyGuardError as error:
        yield CheckResult("stopped", False, str(error))


def _version(package: str, backend: str, needed: bool = True) -> CheckResult:
    try:
        return CheckResult(package, True if needed else None, version(package))
    except PackageNotFoundError:
        extra = f"pip install 'energy-guard[{backend}]'"
        what = f"not installed: {extra}" if needed else f"not installed ({extra})"
        return CheckResult(package, False if needed else None, what)


def _devices(backend: str) -> CheckResult:
    if backend in ("transformers", "vllm"):
        return CheckResult("devices", None, ", ".join(devices()))
    offload = supports_gpu_offload()
    return CheckResult(
        "GPU offload", None, "supported" if offload else "not in this build: CPU only"
    )


def _probe(options: EngineOptions) -> CheckResult:
    """Decode one token in a child: a build that does not fit the processor dies there."""
    what = "one token, in a process of its own"
    small = json.dumps(asdict(replace(options, n_ctx=256)))
    command = [sys.executable, "-m", "energy_guard.cli.probe", small]
    try:
        child = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_PROBE_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return CheckResult(what, False, f"no token within {_PROBE_LIMIT_S} s")
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        way_out = "Install torch again, or try --device cpu."
        if child.returncode == -signal.SIGABRT:  # an assertion: no matter of the processor
            why = [
                line for line in child.stderr.splitlines() if "ASSERT" in line or "what()" in line
            ]
            way_out = "\n".join(
                [*why, "The model file, or one of its options, does not fit this build."]
            )
        elif options.kind == "llama-cpp":
            way_out = f"Build it again:\n  {REBUILD}"
        return CheckResult(what, False, f"{options.kind} crashed ({name}). {way_out}")
    if child.returncode:
        return CheckResult(what, False, child.stderr.strip())
    return CheckResult(what, True, "decoded")


def _rows(engine: Backend) -> Iterator[CheckResult]:
    check = _self_check(engine, Request.raw("The three primary colours are", max_tokens=32))
    yield CheckResult(
        "rows against a second computation",
        check.difference <= check.tolerance,
        f"largest difference {check.difference:.1e} over {check.tokens} tokens (float64, no hook)",
    )
    yield CheckResult(
        "capture",
        None,
        f"{check.capture_s * 1e6:.0f} µs a token of {check.token_s * 1e3:.1f} ms "
        f"({check.capture_s / check.token_s:.1%})",
    )


def _self_check(engine: Backend, request: Request) -> SelfCheck:
    if isinstance(engine, LlamaCpp):
        return check_llama_cpp(engine, request)
    if isinstance(engine, Transformers):
        return check_transformers(engine, request)
    if isinstance(engine, Vllm):
        return check_vllm(engine, request)
    raise TypeError(f"there is no check of a {type(engine).__name__}")
