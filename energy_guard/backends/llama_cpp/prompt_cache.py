"""What of a prompt lies in the context already, such that reusing it changes no number.

Kernels that take one token round otherwise than those that take several: a question asked again
had other numbers when only its last token was left to be read. So a prompt is reused as far as it
was read as a prompt, and at least two tokens are read at once, from the very first question on.
The same prompt again is not read at all: the row after it is kept, and put back.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import numpy.typing as npt

from energy_guard.backends.llama_cpp.evaluate import decode_tokens
from energy_guard.backends.llama_cpp.tap import current_row

if TYPE_CHECKING:
    from llama_cpp import Llama


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """A prompt in the context of a Llama. row: the raw one after it, None when it is not known."""

    ids: list[int]
    row: npt.NDArray[np.float32] | None

    @classmethod
    def now(cls, llm: Llama, ids: Sequence[int]) -> Self:
        """The prompt that has just been read: its row is still the current one."""
        return cls(list(ids), current_row(llm).copy())

    def keep(self, llm: Llama) -> None:
        """Let the next prompt use it."""
        _kept[llm] = self, _evaluated(llm)


def cut_back(llm: Llama, prompt: Sequence[int]) -> ReadPrompt | None:
    """Leave in the context what this prompt can use of the last one.

    Returns the prompt when all of it was read before: the next call of `generate` then begins
    with the row that is put back here. Otherwise something is left to be read.
    """
    last, prompt = taken(llm), list(prompt)
    if last.ids == prompt and last.row is not None and _cut(llm, len(prompt)):
        current_row(llm)[:] = last.row
        llm._requires_eval = False
        return last
    shared = _shared(last.ids, prompt)
    while shared > 0 and _ends_alone(llm, len(prompt) - shared):
        shared -= 1
    if not _cut(llm, shared):
        llm.reset()
    if llm.n_tokens == 0 and len(prompt) > 1 and _ends_alone(llm, len(prompt)):
        decode_tokens(llm, prompt[: llm.n_batch // 2])
    return None


def read_beginning(llm: Llama, ids: Sequence[int]) -> None:
    """Leave just these tokens in the context, and read them first when they are not there."""
    last = taken(llm)
    if last.ids[: len(ids)] != list(ids) or not _cut(llm, len(ids)):
        llm.reset()
        if cut_back(llm, ids) is None:
            decode_tokens(llm, list(ids[llm.n_tokens :]))
        last = ReadPrompt.now(llm, ids)
    row = last.row if len(last.ids) == len(ids) else None
    replace(last, ids=list(ids), row=row).keep(llm)


def _ends_alone(llm: Llama, count: int) -> bool:
    """Whether the last of so many tokens would be evaluated by itself, or none at all."""
    at_once = llm.context_params.n_ubatch
    if count == 0 or min(at_once, llm.n_batch) < 2:  # all by themselves: always the same kernels
        return count == 0
    return bool((count - 1) % llm.n_batch % at_once == 0)


def _shared(ids: Sequence[int], prompt: Sequence[int]) -> int:
    pairs = zip(ids, prompt, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _cut(llm: Llama, length: int) -> bool:
    """Forget what lies behind; False for a state that only goes forward."""
    if not llm._ctx.kv_cache_seq_rm(-1, length, -1):
        return False
    llm.n_tokens = length
    llm._requires_eval = True
    return True


def taken(llm: Llama) -> ReadPrompt:
    """The last prompt, which is used up, as far as it still lies there as it was read.

    After calls of others that is without its end: `Llama.generate` reads the last token of a
    prompt that it has already by itself.
    """
    last, evaluated = _kept.pop(llm, (_NONE, None))
    if evaluated == _evaluated(llm):
        return last
    there = _shared(last.ids[:-1], llm.input_ids[: llm.n_tokens].tolist())
    return ReadPrompt(last.ids[:there], None)


def _evaluated(llm: Llama) -> tuple[int, ...]:
    """What every use of the engine changes: how much was evaluated, and how much lies there."""
    from llama_cpp import llama_perf_context, llama_synchronize

    llama_synchronize(llm.ctx)
    counted = llama_perf_context(llm.ctx)
    return counted.n_p_eval, counted.n_eval, llm.n_tokens


_NONE: Final = ReadPrompt([], None)

_kept: Final[weakref.WeakKeyDictionary[Llama, tuple[ReadPrompt, tuple[int, ...]]]] = (
    weakref.WeakKeyDictionary()
)
"""The last prompt of each engine, and how much had been evaluated when it was kept."""
