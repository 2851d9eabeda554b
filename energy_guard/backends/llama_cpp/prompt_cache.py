"""What of a prompt lies in the context already, such that reusing it changes no number.

A prompt is reused as far as it was read as a prompt, from the very first question on, up to a place
where it may be cut, see `Batches`, and such that enough tokens are left to be read at once. The
same prompt again is not read at all: the row after it is kept, and put back.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from energy_guard.backends.llama_cpp.batches import Batches
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
        _kept[llm] = self, _Evaluated.of(llm)


def cut_back(llm: Llama, prompt: Sequence[int]) -> ReadPrompt | None:
    """Leave in the context what this prompt can use of the last one.

    Returns the prompt when all of it was read before: the next call of `generate` then begins
    with the row that is put back here. Otherwise something is left to be read.
    """
    last, prompt = taken(llm), list(prompt)
    if last.ids == prompt and last.row is not None and _cut(llm, len(prompt)):
        current_row(llm)[:] = last.row
        llm._requires_eval = False
        last.keep(llm)
        return last
    batches = Batches.of(llm)
    shared = _shared(last.ids, prompt) // batches.step * batches.step
    while shared > 0 and batches.leave_few(llm, len(prompt) - shared):
        shared -= batches.step
    if shared < batches.fewest:  # they may have been all that was read
        shared = 0
    if not _cut(llm, shared):
        llm.reset()
    at_once = llm.context_params.n_ubatch
    if llm.n_tokens == 0 and len(prompt) > at_once and batches.leave_few(llm, len(prompt)):
        decode_tokens(llm, prompt[: at_once // 2])
    ReadPrompt(prompt[: llm.n_tokens], None).keep(llm)
    return None


def cut_back_for_user(llm: Llama, prompt: Sequence[int]) -> bool:
    """Do as `cut_back`, for a call of `generate` that is the user's own; tell if it was done.

    A context that holds just this prompt, and not from us, is left as it is: who evaluates by
    himself means it to be used, as chat handlers do that put images there.
    """
    own = llm.input_ids[: llm.n_tokens].tolist() == list(prompt) != taken(llm).ids
    if not own:
        cut_back(llm, prompt)
    return not own


def read_beginning(llm: Llama, ids: Sequence[int]) -> None:
    """Leave just these tokens in the context, and read them first when they are not there.

    The last ones are left to be read with the prompt if it could not be cut behind them, or if they
    would be read with few others.
    """
    batches = Batches.of(llm)
    length = len(ids) // batches.step * batches.step
    while length > 0 and batches.leave_few(llm, length):
        length -= batches.step
    beginning = list(ids[:length])
    if taken(llm).ids[: len(beginning)] != beginning or not _cut(llm, len(beginning)):
        llm.reset()
        decode_tokens(llm, beginning)
    ReadPrompt(beginning, None).keep(llm)


def _shared(ids: Sequence[int], prompt: Sequence[int]) -> int:
    pairs = zip(ids, prompt, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _cut(llm: Llama, length: int) -> bool:
    """Forget what lies behind; False for a state that only goes forward.

    A cache of no more than a sliding window lets itself be cut back, and has lost what comes into
    the window then.
    """
    from llama_cpp import llama_model_n_swa

    window_alone = llama_model_n_swa(llm.model) > 0 and not llm.context_params.swa_full
    if window_alone and length < llm.n_tokens:
        return False
    if not llm._ctx.kv_cache_seq_rm(-1, length, -1):
        return False
    llm.n_tokens = length
    llm._requires_eval = True
    return True


def taken(llm: Llama) -> ReadPrompt:
    """The last prompt, as far as it still lies there as it was read."""
    last, then = _kept.get(llm, (_NONE, _Evaluated(0, 0)))
    there = _shared(last.ids[: then.untouched(llm)], llm.input_ids[: llm.n_tokens].tolist())
    return last if there == len(last.ids) else ReadPrompt(last.ids[:there], None)


class _Evaluated(NamedTuple):
    """How many tokens an engine had evaluated at some time.

    counted: by itself. unsure: how many fewer it may have been, as it says 1 for 0, too.
    """

    counted: int
    unsure: int

    @classmethod
    def of(cls, llm: Llama) -> Self:
        """Ask the engine."""
        from llama_cpp import llama_perf_context, llama_synchronize

        llama_synchronize(llm.ctx)
        counted = llama_perf_context(llm.ctx)
        counts = (counted.n_p_eval, counted.n_eval)
        return cls(sum(counts), counts.count(1))

    def untouched(self, llm: Llama) -> int:
        """How many tokens of the context have certainly been there since.

        Whatever calls there were, and wherever they cut it back: no more of it is new than they
        have evaluated.
        """
        now = self.of(llm).counted
        if now < self.counted:  # somebody has set the counts back
            return 0
        return max(0, llm.n_tokens - (now - self.counted) - self.unsure)


_NONE: Final = ReadPrompt([], None)

_kept: Final[weakref.WeakKeyDictionary[Llama, tuple[ReadPrompt, _Evaluated]]] = (
    weakref.WeakKeyDictionary()
)
"""The last prompt of each engine, and what had been evaluated when it was kept."""
