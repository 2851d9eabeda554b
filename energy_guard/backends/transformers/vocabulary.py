"""Tokens of a Hugging Face tokenizer: the bytes that each adds to a text."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BYTE: Final = re.compile(r"<0x([0-9A-F]{2})>")


class Vocabulary:
    """Remembers what it was asked.

    A token of a byte-level vocabulary may hold a part of a character; what it stands for is
    read from the vocabulary, not from decoded text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._pieces: dict[int, bytes] = {}

    def piece(self, token: int) -> bytes:
        """The bytes of a token; a control token, and an id that is no token, has none."""
        if token not in self._pieces:
            self._pieces[token] = self._ask(token)
        return self._pieces[token]

    def _ask(self, token: int) -> bytes:
        tokenizer = self._tokenizer
        if token in self._controls:
            return b""
        name = tokenizer.convert_ids_to_tokens(token)
        if not isinstance(name, str):
            return b""
        if self._byte_level:
            plain = token in tokenizer.added_tokens_decoder or not _BYTES.keys() >= {*name}
            return name.encode() if plain else bytes(_BYTES[stand_in] for stand_in in name)
        byte = _BYTE.fullmatch(name)
        if byte is not None:
            return bytes.fromhex(byte[1])
        return self._after_anchor(token)

    def _after_anchor(self, token: int) -> bytes:
        """What the token adds to a text: decoders treat the first token of a text otherwise."""
        anchor, before = self._anchor
        after = self._decode([anchor, token])
        return after.removeprefix(before).encode() if after.startswith(before) else b""

    def _decode(self, ids: list[int]) -> str:
        text: Any = self._tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(text)

    @cached_property
    def _anchor(self) -> tuple[int, str]:
        """A plain token, and its text."""
        ids: Any = self._tokenizer("a", add_special_tokens=False).input_ids
        anchor = ids[-1] if ids else 0
        return anchor, self._decode([anchor])

    @cached_property
    def _controls(self) -> frozenset[int]:
        """Tokens that steer the model and are no text."""
        added = self._tokenizer.added_tokens_decoder.items()
        special = {token for token, content in added if content.special}
        return frozenset(special | set(self._tokenizer.all_special_ids))

    @cached_property
    def _byte_level(self) -> bool:
        """Whether the vocabulary is written in GPT-2's stand-ins for bytes."""
        backend: Any = getattr(self._tokenizer, "backend_tokenizer", None)
        decoder = backend and backend.decoder
        return bool(decoder) and b'"ByteLevel"' in decoder.__getstate__()


def _stand_ins() -> dict[str, int]:
    """GPT-2's printable character of each byte, reversed."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


_BYTES: Final = _stand_ins()
