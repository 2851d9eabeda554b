"""Compiles a grammar from standard input and exits: run in a child process, which may die of it.

Run by its path, so it imports nothing of this package. The stack is small: what compiles here
compiles on the stack of any thread.
"""

from __future__ import annotations

import sys
import threading

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

_STACK_BYTES = 512 * 1024
_REFUSED = 3
"""Exit status if llguidance says what is wrong, which is printed."""


class _Bytes:
    """A vocabulary of the 256 bytes and an end token."""

    eos_token_id, bos_token_id = 256, None
    tokens = [*(bytes([byte]) for byte in range(256)), b"<end>"]  # noqa: RUF012
    special_token_ids = (256,)

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


def _trial(grammar: str, said: list[str]) -> None:
    matcher = LLMatcher(LLTokenizer(TokenizerWrapper(_Bytes())), grammar, log_level=0)
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        why = " ".join(matcher.get_error().split("<state>")[0].split())[:300]
        said.append("it allows no answer" if why.startswith("NoExtension") else why)


if __name__ == "__main__":
    said: list[str] = []
    threading.stack_size(_STACK_BYTES)
    thread = threading.Thread(target=_trial, args=(sys.stdin.read(), said))
    thread.start()
    thread.join()
    if said:
        sys.stdout.write(said[0])
        sys.exit(_REFUSED)
