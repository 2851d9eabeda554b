"""The length of each neuron's column of `ffn_down`, read from a GGUF file once and then cached."""

from __future__ import annotations

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from platformdirs import user_cache_path

from energy_guard.backends.gguf_file import GgufTensor, fingerprint, read_tensors, shards
from energy_guard.errors import InputError, ModelFileError
from energy_guard.extras import needs_extra
from energy_guard.files import write_whole
from energy_guard.neurons.contributions import Float32s

if TYPE_CHECKING:
    from llama_cpp import Llama

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
    downs = _downs(path)
    return len(downs), downs[0][1].shape[0]


def refuse_adapter(llm: Llama) -> None:
    """Raise InputError for a Llama with an adapter: the file does not have its columns."""
    if llm.lora_path:
        raise InputError(
            "neurons cannot be read or damped with an adapter (lora_path)",
            "Merge the adapter into the model's file.",
        )


def _measured(path: Path) -> Float32s:
    return np.stack([_norms(*down) for down in _downs(path)])


def _downs(path: Path) -> list[tuple[Path, GgufTensor]]:
    """The `ffn_down` of each layer, and the file that it is in."""
    layers: dict[int, dict[str, tuple[Path, GgufTensor]]] = defaultdict(dict)
    for part in shards(path):
        for tensor in read_tensors(part):
            match = _PART.fullmatch(tensor.name)
            if match is not None:
                layers[int(match[1])][match[2]] = part, tensor
    _check_kind(path, layers)
    downs = [layers[layer]["ffn_down.weight"] for layer in range(len(layers))]
    widths = sorted({down.shape[0] for _, down in downs})
    if len(widths) > 1:
        raise InputError(
            f"the layers of {path} have from {widths[0]} to {widths[-1]} neurons", _WHAT_FITS
        )
    return downs


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


def _norms(path: Path, down: GgufTensor) -> Float32s:
    """Unpack one tensor, shape (width of the model, neurons), and measure its columns."""
    with needs_extra("llama-cpp"):
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

    if down.kind not in set(GGMLQuantizationType) or len(down.shape) != 2:
        raise _cannot_be_unpacked(down, str(down.kind))
    kind = GGMLQuantizationType(down.kind)
    block, size = GGML_QUANT_SIZES[kind]
    neurons, rows = down.shape
    shape = (rows, neurons // block * size)
    if down.start + shape[0] * shape[1] > path.stat().st_size:
        raise ModelFileError(
            f"{path} ends before {down.name} does", "Download it again: it is cut off."
        )
    try:
        weights = dequantize(np.memmap(path, np.uint8, "r", down.start, shape), kind)
    except NotImplementedError as error:
        raise _cannot_be_unpacked(down, kind.name) from error
    squares = np.square(weights).sum(axis=0, dtype=np.float64)
    return np.asarray(np.sqrt(squares), dtype=np.float32)


def _cannot_be_unpacked(tensor: GgufTensor, kind: str) -> InputError:
    return InputError(
        f"{tensor.name} has weights of type {kind}, which cannot be unpacked",
        "Take the model in another quantisation: Q4_K, Q5_K, Q6_K, Q8_0, Q4_0, F16 or F32. If its "
        "type is new, look for a newer version of the package gguf.",
    )


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
