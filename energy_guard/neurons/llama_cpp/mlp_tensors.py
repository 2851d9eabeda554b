"""The weights of the gated MLPs in a GGUF file: where they are, and as plain numbers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from energy_guard.backends.gguf_file import GgufTensor, read_tensors, shards
from energy_guard.errors import InputError, ModelFileError
from energy_guard.extras import needs_extra
from energy_guard.neurons.contributions import Float32s

GATE, UP, DOWN = "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"

_PART: Final = re.compile(r"blk\.(\d+)\.(ffn_.+)")
_NEEDED: Final = frozenset({GATE, UP, DOWN})
_ALLOWED: Final = _NEEDED | {"ffn_norm.weight", "ffn_gate.bias", "ffn_up.bias"}

_WHAT_FITS: Final = (
    "Take a dense model with ffn_gate, ffn_up and ffn_down in every layer, such as Llama, Qwen2, "
    "Qwen3, Gemma, Mistral or OLMo 2."
)


Place = tuple[Path, GgufTensor]
"""A tensor, and the file that it is in."""


def mlp_tensors(path: Path) -> list[Mapping[str, Place]]:
    """Return the tensors of each layer's MLP by their names, such as `ffn_up.weight`.

    Args:
        path: The model's file; the first one if it is split.

    Raises:
        InputError: The model has no gated MLPs.
        ModelFileError: The file cannot be read.

    """
    layers: dict[int, dict[str, Place]] = defaultdict(dict)
    for part in shards(path):
        for tensor in read_tensors(part):
            match = _PART.fullmatch(tensor.name)
            if match is not None:
                layers[int(match[1])][match[2]] = part, tensor
    _check_kind(path, layers)
    found = [layers[layer] for layer in range(len(layers))]
    widths = sorted({each[DOWN][1].shape[0] for each in found})
    if len(widths) > 1:
        raise InputError(
            f"the layers of {path} have from {widths[0]} to {widths[-1]} neurons", _WHAT_FITS
        )
    return [*found]


def mlp_weights(path: Path) -> Iterator[tuple[int, Float32s]]:
    """Yield each projection with its layer, shape (neurons, width of the model).

    Raises:
        InputError: The model has no gated MLPs, or a type of weights that cannot be unpacked.
        ModelFileError: The file cannot be read.
        MissingExtraError: The package gguf is not installed.

    """
    for at, layer in enumerate(mlp_tensors(path)):
        yield at, unpacked(*layer[GATE])
        yield at, unpacked(*layer[UP])
        yield at, unpacked(*layer[DOWN]).T


def unpacked(path: Path, tensor: GgufTensor) -> Float32s:
    """Return a matrix as numbers, shape (what it returns, what it takes).

    Raises:
        InputError: Its type of weights cannot be unpacked.
        ModelFileError: The file is cut off.
        MissingExtraError: The package gguf is not installed.

    """
    with needs_extra("llama-cpp"):
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

    if tensor.kind not in set(GGMLQuantizationType) or len(tensor.shape) != 2:
        raise _cannot_be_unpacked(tensor, str(tensor.kind))
    kind = GGMLQuantizationType(tensor.kind)
    block, size = GGML_QUANT_SIZES[kind]
    taken, returned = tensor.shape
    shape = (returned, taken // block * size)
    if tensor.start + shape[0] * shape[1] > path.stat().st_size:
        raise ModelFileError(
            f"{path} ends before {tensor.name} does", "Download it again: it is cut off."
        )
    try:
        weights: Any = dequantize(np.memmap(path, np.uint8, "r", tensor.start, shape), kind)
    except NotImplementedError as error:
        raise _cannot_be_unpacked(tensor, kind.name) from error
    return np.asarray(weights, np.float32)


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


def _cannot_be_unpacked(tensor: GgufTensor, kind: str) -> InputError:
    return InputError(
        f"{tensor.name} has weights of type {kind}, which cannot be unpacked",
        "Take the model in another quantisation: Q4_K, Q5_K, Q6_K, Q8_0, Q4_0, F16 or F32. If its "
        "type is new, look for a newer version of the package gguf.",
    )
