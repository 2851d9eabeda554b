"""GGUF files without an engine: is it one, and which one is it?

Reads the header and a few blocks, never the whole file: 8 GB take well under a second.
"""

from __future__ import annotations

import hashlib
import mmap
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from energy_guard.errors import ModelFileError

_MAGIC: Final = b"GGUF"
_SCALAR_BYTES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _STRING, _ARRAY = 4, 8, 9
_BLOCK: Final = 64 * 1024
_SAMPLES: Final = 64
_SHARD = re.compile(r"-\d{5}-of-(\d{5})(?=\.gguf$)")


def is_gguf(path: Path) -> bool:
    """Tell a GGUF file by its first bytes: other tools store them under names of their own."""
    with path.open("rb") as file:
        return file.read(4) == _MAGIC


def check_file(path: Path) -> None:
    """Raise ModelFileError where `path` is missing, no GGUF file, or cut off."""
    if not path.is_file():
        raise ModelFileError(
            f"there is no model file at {path}",
            "Give the path of a GGUF file, a hub id (owner/repo:FILE-PATTERN), or `demo`.",
        )
    if not is_gguf(path):
        raise ModelFileError(
            f"{path} is not a GGUF file",
            "llama.cpp reads GGUF: look for a file that ends in .gguf (or convert the model).",
        )
    _header(path)


def fingerprint(path: Path, adapters: Mapping[Path, float] = MappingProxyType({})) -> str:
    """Digest of header, tensor list, size and sampled blocks of a model and its adapters.

    adapters: files with the scale that each is applied at. Changes with weights, quantisation,
    vocabulary and chat template; not with the file's name or place. Hexadecimal, 32 digits.
    """
    digest = hashlib.sha256()
    parts = dict.fromkeys(_shards(path), 1.0) | dict(adapters)
    for part, scale in parts.items():
        header = _header(part)
        size = part.stat().st_size
        digest.update(struct.pack("<QQd", size, len(header), scale))
        digest.update(header)
        body = size - len(header)
        with part.open("rb") as file:
            for sample in range(_SAMPLES):
                file.seek(len(header) + max(0, body - _BLOCK) * sample // (_SAMPLES - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()[:32]


def is_first_shard(path: Path) -> bool:
    """Whether the file is where loading starts: the first of a split model, or all of it."""
    return _shards(path)[0].name == path.name


def _shards(path: Path) -> list[Path]:
    """All files of a model that is split over several."""
    match = _SHARD.search(path.name)
    if match is None:
        return [path]
    count = int(match[1])
    names = (_SHARD.sub(f"-{i:05d}-of-{count:05d}", path.name) for i in range(1, count + 1))
    return [path.with_name(name) for name in names]


def _header(path: Path) -> bytes:
    """The bytes before the tensor data: metadata and the list of tensors."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            end = _header_end(view)
            if end > len(view):
                raise struct.error("the header runs past the end of the file")
            return view[:end]
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}") from error
    except (struct.error, ValueError, KeyError) as error:
        raise ModelFileError(
            f"{path} is cut off or damaged: its header cannot be read ({error})",
            "Download the file again and compare its size with the original's.",
        ) from error


def trained_context(path: Path) -> int | None:
    """How many tokens of context the model was trained with; None where the file does not say."""
    header = _header(path)
    key = b".context_length"
    at = header.find(key)
    if at < 0:
        return None
    kind, value = struct.unpack_from("<II", header, at + len(key))
    return int(value) if kind == _UINT32 else None


def pre_tokenizer(path: Path) -> str | None:
    """How text is split before it is encoded, by llama.cpp's name; None where that is not said."""
    header = _header(path)
    key = b"tokenizer.ggml.pre"
    at = header.find(struct.pack("<Q", len(key)) + key)
    if at < 0:
        return None
    start = at + 8 + len(key) + 4 + 8  # after the key: its type, the length of the text
    (length,) = struct.unpack_from("<Q", header, start - 8)
    return header[start : start + length].decode()


def _header_end(view: mmap.mmap) -> int:
    tensors, pairs = struct.unpack_from("<QQ", view, 8)
    at = 24
    for _ in range(pairs):
        at = _skip_string(view, at)
        (kind,) = struct.unpack_from("<I", view, at)
        at = _skip_value(view, at + 4, kind)
    for _ in range(tensors):
        at = _skip_string(view, at)
        (dimensions,) = struct.unpack_from("<I", view, at)
        at += 4 + 8 * dimensions + 4 + 8  # sizes, type, offset
    return at


def _skip_string(view: mmap.mmap, at: int) -> int:
    (size,) = struct.unpack_from("<Q", view, at)
    return int(at + 8 + size)


def _skip_value(view: mmap.mmap, at: int, kind: int) -> int:
    if kind == _STRING:
        return _skip_string(view, at)
    if kind != _ARRAY:
        return at + _SCALAR_BYTES[kind]
    item, count = struct.unpack_from("<IQ", view, at)
    at += 12
    if item in _SCALAR_BYTES:
        return int(at + _SCALAR_BYTES[item] * count)
    for _ in range(count):
        at = _skip_value(view, at, item)
    return at
