"""The length of each neuron's column of `ffn_down`, read from a GGUF file once and then cached."""

from __future__ import annotations

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from platformdirs import user_cache_path

from energy_guard.backends.gguf_file import fingerprint, shards
from energy_guard.errors import InputError, ModelFileError
from energy_guard.extras import needs_extra
from energy_guard.files import write_whole
from energy_guard.neurons.contributions import Float32s

if TYPE_CHECKING:
    from gguf import ReaderTensor

_PART: Final = re.compile(r"blk\.(\d+)\.(ffn_.+)")
_NEEDED: Final = frozenset({"ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"})
_ALLOWED: Final = _NEEDED | {"ffn_norm.weight", "ffn_gate.bias", "ffn_up.bias"}

_WHAT_FITS: Final = (
    "Take a dense model with ffn_gate, ffn_up and ffn_down in every layer, such as Llama, Qwen2, "
    "Qwen3, Gemma, Mistral or OLMo 2."
)


def column_norms(path: Path) -> Float32s:
    """Return the length of each column, shape (layers, neurons).

    The file is unpacked layer by layer, which takes seconds; what comes out is kept in the user's
    cache under the model's fingerprint.

    Args:
        path: The model's file; the first one if it is split.

    Raises:
        InputError: The model has no gated MLPs, or a kind of weights that cannot be unpacked.
        ModelFileError: The file cannot be read.
        MissingExtraError: The package gguf is not installed.

    """
    cached = _cache_file(path)
    found = _read_cached(cached)
    if found is None:
        found = _measured(path)
        _keep(cached, found)
    return found


def _measured(path: Path) -> Float32s:
    layers: dict[int, dict[str, ReaderTensor]] = defaultdict(dict)
    for tensor in _tensors(path):
        match = _PART.fullmatch(tensor.name)
        if match is not None:
            layers[int(match[1])][match[2]] = tensor
    _check_kind(path, layers)
    downs = [layers[layer]["ffn_down.weight"] for layer in range(len(layers))]
    widths = sorted({int(down.shape[0]) for down in downs})  # GGUF lists the inner size first
    if len(widths) > 1:
        raise InputError(
            f"the layers of {path} have from {widths[0]} to {widths[-1]} neurons", _WHAT_FITS
        )
    return np.stack([_norms(down) for down in downs])


def _tensors(path: Path) -> Iterator[ReaderTensor]:
    with needs_extra("llama-cpp"):
        from gguf import GGUFReader

    for part in shards(path):
        try:
            reader = GGUFReader(part)
        except (OSError, ValueError) as error:  # the latter for a type that gguf does not know
            raise ModelFileError(
                f"the tensors of {part} cannot be listed: {error}",
                "Look for a newer version of the package gguf.",
            ) from error
        yield from reader.tensors


def _check_kind(path: Path, layers: Mapping[int, Mapping[str, object]]) -> None:
    """Refuse what has neurons of another kind, and say which."""
    if not layers or sorted(layers) != list(range(len(layers))):
        raise InputError(f"{path} does not have an MLP in every layer", _WHAT_FITS)
    for layer, parts in layers.items():
        if any("exp" in part or part == "ffn_gate_inp.weight" for part in parts):
            raise InputError(
                f"{path} is a mixture of experts: which neurons there are differs from token to "
                "token",
                _WHAT_FITS,
            )
        if not parts.keys() >= _NEEDED:
            lacking = ", ".join(sorted(_NEEDED - parts.keys()))
            raise InputError(
                f"{path} has no gated MLP: layer {layer} lacks {lacking} (or has them fused)",
                _WHAT_FITS,
            )
        other = sorted(parts.keys() - _ALLOWED)
        if other:
            raise InputError(
                f"the MLPs of {path} have {other[0]}, and contributions are not defined with it",
                _WHAT_FITS,
            )


def _norms(down: ReaderTensor) -> Float32s:
    from gguf import dequantize

    try:
        weights = dequantize(down.data, down.tensor_type)
    except NotImplementedError as error:
        raise InputError(
            f"{down.name} has weights of type {down.tensor_type.name}, which cannot be unpacked",
            "Take the model in another quantisation: Q4_K, Q5_K, Q6_K, Q8_0, Q4_0, F16 or F32.",
        ) from error
    squares = np.square(weights).sum(axis=0, dtype=np.float64)
    return np.sqrt(squares).astype(np.float32)


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
