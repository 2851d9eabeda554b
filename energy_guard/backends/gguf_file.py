"""GGUF files without an engine: is it one, and which one is it?

Reads the header and a few blocks, never the whole file: 8 GB take well under a second. The walk
over the header is our own: `gguf.GGUFReader` makes an object of every token and tensor (for 49,152
tokens at least fifty times as slow), and it is no part of a bare install.
"""

from __future__ import annotations

import hashlib
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from energy_guard.errors import ModelFileError

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
"""Of the format; the first one had shorter lengths, and engines load it no longer."""

_SCALARS: Final = {
    kind: struct.Struct(f"<{code}")
    for kind, code in {
        **{0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"},
        12: "d",
    }.items()
}
_UINT32, _STRING, _ARRAY, _UINT64 = 4, 8, 9, 10
_LONGEST_NAME: Final = 2**16 - 1
"""Bytes of a key or of a short text; the format's own limit for keys."""

_MOST_ITEMS: Final = 4_000_000
"""Keys, texts in lists and tensors of one header: five times what the largest vocabularies have.

A file of many gigabytes may claim a number that is possible and would take minutes to walk over.
"""

_MOST_LAYERS: Final = 4096
"""Numbers of a list that is read: one of each layer. Longer ones are about tokens."""

_OTHER_CACHES: Final = (
    *("attention.key_length_mla", "attention.key_length_swa", "attention.shared_kv_layers"),
)
"""What says that the model's layers keep less of a token than their shapes would tell."""

_Value = int | float | slice | tuple[int | float, ...]
"""A number, where a text is, or a short list of numbers."""

_MOST_DIMENSIONS: Final = 4
"""Of a tensor, in ggml."""

_ALIGNMENT: Final = 32
"""Of the data behind the header, in bytes, unless the file says another."""

_PAST_THE_END: Final = "it runs past the end of the file"
_CHUNK: Final = 2**20
_BLOCK: Final = 64 * 1024
_SAMPLES: Final = 64
_SHARD = re.compile(r"-\d{5}-of-(\d{5})(?=\.gguf$)")


def is_gguf(path: Path) -> bool:
    """Tell a GGUF file by its first bytes: other tools store them under names of their own."""
    with path.open("rb") as file:
        return file.read(4) == _MAGIC


def check_file(path: Path) -> GgufFacts:
    """Return what its header says; ModelFileError for a path without a whole GGUF file."""
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
    return read_facts(path)


@dataclass(frozen=True)
class GgufFacts:
    """What the header of a GGUF file says.

    header_bytes: the length of metadata and tensor list, before the tensors' data.
    trained_context: how many tokens of context the model was trained with. pre_tokenizer: how text
    is split before it is encoded, by llama.cpp's name. layers: how many the model has. cached: how
    many numbers the keys and the values of one token have, in all layers together. None if the
    file does not say.
    """

    header_bytes: int
    trained_context: int | None
    pre_tokenizer: str | None
    layers: int | None
    cached: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """Where a tensor is in a file. shape: as GGUF has it, the length of a row first.

    kind: ggml's number of its type. start: the place of its first byte.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int


def read_facts(path: Path) -> GgufFacts:
    """Read the header of a GGUF file.

    Raises:
        ModelFileError: The file cannot be read, is cut off, or its header is not one.
    """
    return _read(path)[0]


def read_tensors(path: Path) -> list[GgufTensor]:
    """Read which tensors a GGUF file has, and where; see `read_facts`."""
    return _read(path)[1]


def _read(path: Path) -> tuple[GgufFacts, list[GgufTensor]]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return _Header(view).walk()
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelFileError(
            f"{path} is cut off or damaged: its header cannot be read ({error})",
            "Download the file again and compare its size with the original's.",
        ) from error


def fingerprint(path: Path, adapters: Mapping[Path, float] = MappingProxyType({})) -> str:
    """Digest of header, tensor list, size and sampled blocks of a model and its adapters.

    adapters: files with the scale that each is applied at. Changes with weights, quantisation,
    vocabulary and chat template; not with the file's name or place. Hexadecimal, 32 digits.
    """
    digest = hashlib.sha256()
    parts = dict.fromkeys(shards(path), 1.0) | dict(adapters)
    for part, scale in parts.items():
        header_bytes = read_facts(part).header_bytes
        size = part.stat().st_size
        digest.update(struct.pack("<QQd", size, header_bytes, scale))
        body = size - header_bytes
        with part.open("rb") as file:
            for start in range(0, header_bytes, _CHUNK):
                digest.update(file.read(min(_CHUNK, header_bytes - start)))
            for sample in range(_SAMPLES):
                file.seek(header_bytes + max(0, body - _BLOCK) * sample // (_SAMPLES - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()[:32]


def is_first_shard(path: Path) -> bool:
    """Whether the file is where loading starts: the first of a split model, or all of it."""
    return shards(path)[0].name == path.name


def shards(path: Path) -> list[Path]:
    """Return all files of a model that is split over several, or the only one."""
    match = _SHARD.search(path.name)
    if match is None:
        return [path]
    count = int(match[1])
    names = (_SHARD.sub(f"-{i:05d}-of-{count:05d}", path.name) for i in range(1, count + 1))
    return [path.with_name(name) for name in names]


class _Header:
    """A walk over a header, in bounded time, that never leaves the file.

    Every length is held against what is left of the file before anything is read or skipped.
    Raises ValueError for a header that cannot be one.
    """

    def __init__(self, view: mmap.mmap) -> None:
        self._view = view
        self._at = len(_MAGIC)
        self._items = 0

    def walk(self) -> tuple[GgufFacts, list[GgufTensor]]:
        """Walk from the first byte to the last."""
        if self._view[: len(_MAGIC)] != _MAGIC:
            raise ValueError("it does not begin as a GGUF file does")
        version = self._integer(_UINT32)
        if version not in _VERSIONS:
            raise ValueError(f"version {version} of the format is not known")
        tensors, pairs = self._integer(_UINT64), self._integer(_UINT64)
        values: dict[str, _Value] = {}
        self._count(pairs)
        for _ in range(pairs):
            key = self._name(self._text())
            value = self._value(self._integer(_UINT32))
            if value is not None:
                values.setdefault(key, value)
        self._count(tensors)
        listed = [self._tensor() for _ in range(tensors)]
        alignment = _positive(values.get("general.alignment")) or _ALIGNMENT
        data = -(-self._at // alignment) * alignment
        architecture = self._named(values.get("general.architecture"))
        facts = GgufFacts(
            header_bytes=self._at,
            trained_context=_positive(values.get(f"{architecture}.context_length")),
            pre_tokenizer=self._named(values.get("tokenizer.ggml.pre")),
            layers=_positive(values.get(f"{architecture}.block_count")),
            cached=_cached(values, f"{architecture}."),
        )
        return facts, [replace(tensor, start=data + tensor.start) for tensor in listed]

    def _tensor(self) -> GgufTensor:
        """One tensor; its start counts from where the data begin."""
        name = self._name(self._text())
        dimensions = self._integer(_UINT32)
        if dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor has {dimensions} dimensions")
        shape = tuple(self._integer(_UINT64) for _ in range(dimensions))
        return GgufTensor(name, shape, self._integer(_UINT32), self._integer(_UINT64))

    def _value(self, kind: int) -> _Value | None:
        """A number, where a text is, or a short list of numbers; None for what is skipped."""
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._scalar(kind)
        item, count = self._integer(_UINT32), self._integer(_UINT64)
        if item == _STRING:
            self._skip_texts(count)
            return None
        # Lists of lists are none of the format's kinds: engines refuse them, too.
        number, start = self._struct(item), self._at
        self._skip(number.size * count)
        if count > _MOST_LAYERS:
            return None
        return tuple(value for (value,) in number.iter_unpack(self._view[start : self._at]))

    def _text(self) -> slice:
        size = self._integer(_UINT64)
        start = self._at
        self._skip(size)
        return slice(start, self._at)

    def _skip_texts(self, count: int) -> None:
        """Pass over a vocabulary: nearly all of the time goes here, so it calls nothing of ours."""
        self._count(count)
        length, at, end = _SCALARS[_UINT64], self._at, len(self._view)
        for _ in range(count):
            if end - at < length.size:
                raise ValueError(_PAST_THE_END)
            at += length.size + length.unpack_from(self._view, at)[0]
        self._skip(at - self._at)

    def _integer(self, kind: int) -> int:
        return int(self._scalar(kind))

    def _scalar(self, kind: int) -> int | float:
        scalar = self._struct(kind)
        start = self._at
        self._skip(scalar.size)
        value: int | float = scalar.unpack_from(self._view, start)[0]
        return value

    def _struct(self, kind: int) -> struct.Struct:
        if kind not in _SCALARS:
            raise ValueError(f"there is no kind of value {kind}")
        return _SCALARS[kind]

    def _skip(self, size: int) -> None:
        if size > len(self._view) - self._at:
            raise ValueError(_PAST_THE_END)
        self._at += size

    def _count(self, items: int) -> None:
        """Refuse, before the first of them, more items than any header has."""
        self._items += items
        if self._items > _MOST_ITEMS:
            raise ValueError(f"it claims {self._items} items")

    def _named(self, value: _Value | None) -> str | None:
        return self._name(value) if isinstance(value, slice) else None

    def _name(self, where: slice) -> str:
        if where.stop - where.start > _LONGEST_NAME:
            raise ValueError("a name in it is too long")
        return self._view[where].decode()


def _positive(value: _Value | None) -> int | None:
    """The value, if it is a whole number above 0."""
    return value if type(value) is int and value > 0 else None


def _cached(values: Mapping[str, _Value], architecture: str) -> tuple[int, int] | None:
    """How many numbers keys and values of one token have in all layers, by the layers' shapes."""
    named = {key.removeprefix(architecture): value for key, value in values.items()}
    heads = _positive(named.get("attention.head_count"))
    of_all = _kept_heads(named.get("attention.head_count_kv", heads), named.get("block_count"))
    if of_all is None or any(name in named for name in _OTHER_CACHES):
        return None
    width = _positive(named.get("embedding_length"))
    own = width // heads if width and heads else None
    key = _positive(named.get("attention.key_length", own))
    value = _positive(named.get("attention.value_length", own))
    return None if key is None or value is None else (of_all * key, of_all * value)


def _kept_heads(kept: _Value | None, layers: _Value | None) -> int | None:
    """How many heads keep keys and values, in all layers: one number for each, or a list."""
    if isinstance(kept, tuple):
        counts = [count for count in kept if type(count) is int and count >= 0]
        return sum(counts) if len(counts) == len(kept) else None
    each, count = _positive(kept), _positive(layers)
    return None if each is None or count is None else each * count
