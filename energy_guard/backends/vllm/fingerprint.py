"""Which model is this? A digest of its files: configuration, chat template and sampled weights."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any, Final

from energy_guard.errors import ModelFileError

_SAMPLES: Final = 64
"""Places read of each tensor, evenly spaced."""

_BYTES: Final = 16
"""Read at each of them."""

_LONGEST_HEADER: Final = 100_000_000
"""Bytes; as much as the format itself allows."""


def fingerprint(config: Any, folder: Path, tokens: int, template: str | None) -> str:
    """Return 32 hexadecimal digits that change with weights, precision, tokens and template.

    They are those of the files: weights that are changed in a running engine are not seen, nor
    adapters, without which requests are asked here.

    Args:
        config: vLLM's `ModelConfig`.
        folder: of the model's files.
        tokens: how many the tokenizer has.
        template: the chat template.

    Raises:
        ModelFileError: there are no weights as safetensors in the folder.
    """
    settings = config.hf_config.to_diff_dict()
    kept = {name: value for name, value in settings.items() if not name.startswith("_")}
    kept.pop("transformers_version", None)
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode())
    digest.update(repr((str(config.dtype), config.quantization, tokens, template)).encode())
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelFileError(
            f"{folder} has no weights as safetensors, so there is no fingerprint of them",
            "Save the model with save_pretrained, and load that directory.",
        )
    for file in files:
        _digest_weights(file, digest)
    return digest.hexdigest()[:32]


def _digest_weights(path: Path, digest: Any) -> None:
    """Take in names, shapes and kinds of all tensors of a file, and some of their bytes."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _LONGEST_HEADER:
            raise ModelFileError(f"{path} is no file of safetensors", "Download it again.")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, tensor in sorted(header.items()):
            begin, end = tensor["data_offsets"]
            digest.update(f"{name} {tensor['shape']} {tensor['dtype']}".encode())
            last = max(0, end - begin - _BYTES)
            for sample in range(_SAMPLES):
                file.seek(8 + length + begin + last * sample // (_SAMPLES - 1))
                digest.update(file.read(min(_BYTES, end - begin)))
