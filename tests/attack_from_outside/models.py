"""Attacked: the reading of model files. The header of a tiny GGUF file is spoilt."""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random
from typing import Final

from tiny_gguf import write_tiny_gguf

from energy_guard import Guard, load
from energy_guard.backends.gguf_file import read_facts

from .case import Case, Kind, Make, short
from .template_pieces import PIECES

MODEL: Final = "tiny.gguf"
_NUMBERS: Final = (0, 1, 2, 9, 255, 10**6, 2**31, 2**32 - 1, 2**32, 2**53, 2**63, 2**64 - 1)
_HOW: Final = ("count", "length", "type", "value", "bit", "bytes", "cut", "zeros", "number", "name")


def prepare(folder: Path) -> None:
    """Write the model, once."""
    if not (folder / MODEL).exists():
        write_tiny_gguf(folder / MODEL)


def open_models(folder: Path) -> Make:
    raw = (folder / MODEL).read_bytes()
    header = read_facts(folder / MODEL).header_bytes
    keys = [
        at
        for at in range(24, header)
        if raw.startswith((b"llama.", b"tokenizer.", b"general."), at)
    ]

    def make(number: int, dice: Random) -> Case:
        path = folder / f"spoilt-{number}.gguf"
        # Every tenth file is whole, and its chat template is what is wrong with it.
        template = PIECES[-1 - number // 10 % len(PIECES)] if number % 10 == 9 else None
        spoilt, what = _spoilt(raw, header, keys, dice)

        def run() -> None:
            if template is None:
                path.write_bytes(spoilt)
            else:
                write_tiny_gguf(path, chat_template=template)
            try:
                backend = load(path, n_ctx=64, n_threads=1)
                try:
                    Guard(backend).ask("Where?", max_tokens=3)
                finally:
                    backend.engine.close()  # type: ignore[attr-defined]
            finally:
                path.unlink()

        return Case(what if template is None else f"chat template in the file: {template}", run)

    return make


def _spoilt(raw: bytes, header: int, keys: list[int], dice: Random) -> tuple[bytes, str]:
    """The file with one change in its header, and where that is."""
    out, how = bytearray(raw), dice.choice(_HOW)
    at = dice.randrange(4, header)
    key = dice.choice(keys)  # its length stands before it; then type and value follow
    name_ends = key + struct.unpack_from("<Q", raw, key - 8)[0]
    number = dice.choice(_NUMBERS)
    match how:
        case "count":
            at = dice.choice([4, 8, 16])  # version, tensors, keys
            struct.pack_into(
                "<Q" if at > 4 else "<I", out, at, number % 2 ** (64 if at > 4 else 32)
            )
        case "length":
            at = key - 8
            struct.pack_into("<Q", out, at, number)
        case "type":
            at = name_ends
            struct.pack_into("<I", out, at, dice.randrange(16))
        case "value":
            at = name_ends + 4
            struct.pack_into("<Q", out, at, number)
        case "name":
            at = dice.randrange(key, name_ends)
            out[at] = dice.choice(b"\0\xffaz._")
        case "bit":
            out[at] ^= 1 << dice.randrange(8)
        case "bytes":
            for offset in range(8):
                out[(at + offset) % header] = dice.randrange(256)
        case "cut":
            at = dice.choice([at, dice.randrange(1, len(out))])
            del out[at:]
        case "zeros":
            out[at : at + 16] = bytes(len(out[at : at + 16]))
        case "number":
            struct.pack_into("<Q", out, at, number)
    return bytes(out), f"{how} at byte {at} (header {header}), {number}: {short(raw[at : at + 12])}"


KIND: Final = Kind("model files: GGUF headers and chat templates", 500, open_models, prepare)
