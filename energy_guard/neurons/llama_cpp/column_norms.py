"""The length of each neuron's column of `ffn_down`, read from a GGUF file once and then cached."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from platformdirs import user_cache_path

from energy_guard.backends.gguf_file import GgufTensor, fingerprint
from energy_guard.errors import InputError
from energy_guard.files import write_whole
from energy_guard.neurons.contributions import Float32s
from energy_guard.neurons.llama_cpp.mlp_tensors import DOWN, mlp_tensors, unpacked

if TYPE_CHECKING:
    from llama_cpp import Llama


def column_norms(path: Path) -> Float32s:
    """Return the length of each column, shape (layers, neurons).

    The file is unpacked layer by layer, which takes seconds; what comes out is kept in the user's
    cache under the model's fingerprint.

    Args:
        path: The model's file; the first one if it is split.

    Raises:
        InputError: The model has no gated MLPs, or a type of weights that cannot be unpacked.
        ModelFileError: The file cannot be read.
        MissingExtraError: The package gguf is not installed.

    """
    cached = _cache_file(path)
    found = _read_cached(cached)
    if found is None:
        found = _measured(path)
        _keep(cached, found)
    return found


def mlp_shape(path: Path) -> tuple[int, int]:
    """Return how many layers a model has, and neurons each; nothing is unpacked.

    Raises:
        InputError: The model has no gated MLPs.
        ModelFileError: The file cannot be read.

    """
    layers = mlp_tensors(path)
    return len(layers), layers[0][DOWN][1].shape[0]


def refuse_adapter(llm: Llama) -> None:
    """Raise InputError for a Llama with an adapter: the file does not have its columns."""
    if llm.lora_path:
        raise InputError(
            "neurons cannot be read or damped with an adapter (lora_path)",
            "Merge the adapter into the model's file.",
        )


def _measured(path: Path) -> Float32s:
    return np.stack([_norms(*layer[DOWN]) for layer in mlp_tensors(path)])


def _norms(path: Path, down: GgufTensor) -> Float32s:
    squares = np.square(unpacked(path, down)).sum(axis=0, dtype=np.float64)
    return np.asarray(np.sqrt(squares), dtype=np.float32)


def _cache_file(path: Path) -> Path:
    folder = user_cache_path("energy-guard", appauthor=False) / "column-norms"
    return folder / f"{fingerprint(path)}.npz"


def _read_cached(file: Path) -> Float32s | None:
    """What is there; None for nothing, or for what is no such file: it is made anew."""
    try:
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as stored:
            found = np.asarray(stored["norms"])
    except (EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile):
        return None
    whole = found.dtype == np.float32 and found.ndim == 2 and bool(np.isfinite(found).all())
    return found if whole else None


def _keep(file: Path, norms: Float32s) -> None:
    raw = io.BytesIO()
    np.savez(raw, norms=norms)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, raw.getvalue())
    except OSError:  # no place to write: they are read anew next time
        return
