"""Where a prompt may be cut, such that reading it in parts changes no number.

The processor's kernels for one token, or for a few, round otherwise than those for many, and those
take tokens by fours from the first one of a batch on: a question had other numbers when only its
last token was left to be read, or when the reading began between two fours. Weights of some types
have no such kernels: each token is multiplied by itself. Kernels of other kinds share out a batch
by its size.
"""

from __future__ import annotations

import platform
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from energy_guard.backends.gguf_file import read_tensors, shards
from energy_guard.backends.llama_cpp.load import supports_gpu_offload
from energy_guard.errors import ModelFileError

if TYPE_CHECKING:
    from llama_cpp import Llama

_Q4_1: Final = 3
"""ggml's number of the one type that was tried and found to be multiplied token by token."""

_OUTSIDE: Final = ("token_embd.weight", "output.weight")
"""Matrices outside the layers: the first is looked up, the last row alone is multiplied by either,
unless all rows are wanted."""


class Batches(NamedTuple):
    """How an engine's numbers depend on what is read together.

    step: every how many tokens a prompt may be cut. fewest: how many tokens of a batch have the
    numbers that they have among many.
    """

    step: int
    fewest: int

    @classmethod
    def of(cls, llm: Llama) -> Batches:
        """Look at an engine: on a GPU and with flash attention whole batches alone are safe."""
        from llama_cpp import LLAMA_FLASH_ATTN_TYPE_DISABLED

        params = llm.context_params
        whole = all(size % (2 * _BY_FOURS.fewest) == 0 for size in (llm.n_batch, params.n_ubatch))
        plain = params.flash_attn_type == LLAMA_FLASH_ATTN_TYPE_DISABLED
        if not (whole and plain) or supports_gpu_offload():
            return cls(llm.n_batch, 1)
        if llm not in _token_by_token:
            _token_by_token[llm] = _multiplies_token_by_token(llm)
        return _BY_TOKENS if _token_by_token[llm] else _BY_FOURS

    def leave_few(self, llm: Llama, count: int) -> bool:
        """Whether the last of so many tokens would be evaluated with few others, or is there.

        Where whole batches are reused, it is evaluated with the same ones in any case.
        """
        last = (count - 1) % llm.n_batch % llm.context_params.n_ubatch + 1 if count else 0
        return last < self.fewest


_BY_FOURS: Final = Batches(step=4, fewest=8)
"""With a single four, other kernels are used than with two."""

_BY_TOKENS: Final = Batches(step=1, fewest=2)
"""Attention has other kernels for a token alone."""

_token_by_token: Final[weakref.WeakKeyDictionary[Llama, bool]] = weakref.WeakKeyDictionary()
"""What is known of each engine's weights."""


def _multiplies_token_by_token(llm: Llama) -> bool:
    """Whether all matrices of the layers are of a type that was tried, on such a processor.

    Other processors than x86, and x86 with AMX, have kernels for several tokens of this type, too.
    """
    from llama_cpp import llama_print_system_info

    tried = platform.machine().lower() in ("x86_64", "amd64")
    if not tried or b"AMX" in llama_print_system_info() or llm.lora_path or llm._logits_all:
        return False
    try:
        tensors = [each for part in shards(Path(llm.model_path)) for each in read_tensors(part)]
    except ModelFileError:  # the file is gone, and the engine goes on without it
        return False
    matrices = (each for each in tensors if len(each.shape) > 1 and each.name not in _OUTSIDE)
    return {matrix.kind for matrix in matrices} == {_Q4_1}
