"""Options that several commands share, and what is made of them."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from energy_guard.backends import Backend, load
from energy_guard.calibrate import Profile
from energy_guard.decide import Policy
from energy_guard.errors import PromptError
from energy_guard.guard import Guard
from energy_guard.locate import LOCATORS

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="GGUF file, hub id (owner/repo:FILE), or demo."),
]
BackendName = Annotated[str | None, typer.Option("--backend", help="llama-cpp; settles doubt.")]
NCtx = Annotated[int | None, typer.Option(help="Tokens of context.", min=1)]
NGpuLayers = Annotated[int | None, typer.Option(help="Layers on the GPU; -1 for all.")]
NThreads = Annotated[int | None, typer.Option(help="Threads while generating.", min=1)]
DetectorName = Annotated[
    str | None, typer.Option("--detector", help="signal:pooling, such as spilled_energy:max.")
]
LocatorName = Annotated[str | None, typer.Option("--locator", help=f"{', '.join(LOCATORS)}.")]
PolicyFile = Annotated[str | None, typer.Option("--policy", help="TOML or JSON file.")]
ProfileFile = Annotated[str | None, typer.Option("--profile", help="Calibration made for a model.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def open_backend(
    model: str,
    backend: str | None = None,
    n_ctx: int | None = None,
    n_gpu_layers: int | None = None,
    n_threads: int | None = None,
) -> Backend:
    """Load the model, with the engine's defaults for what was not given."""
    given = {"n_ctx": n_ctx, "n_gpu_layers": n_gpu_layers, "n_threads": n_threads}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return load(model, backend, **options)


def open_guard(
    backend: Backend,
    policy: str | None = None,
    detector: str | None = None,
    locator: str | None = None,
    profile: str | None = None,
) -> Guard:
    """Put a guard over a backend, from files and names."""
    return Guard(
        backend,
        Policy.read(policy) if policy else None,
        detector,
        locator,
        Profile.read(profile) if profile else None,
    )


def read_prompt(text: str) -> str:
    """Return the text, or standard input where it is `-`."""
    if text != "-":
        return text
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise PromptError(
            f"standard input is not valid UTF-8 (at byte {error.start})",
            "Convert it to UTF-8 and try again.",
        ) from error
