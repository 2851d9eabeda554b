"""What an answer leaves in the cache, and what of it the next prompt can use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from energy_guard.backends.transformers.job import engine_failures
from energy_guard.backends.transformers.offload import device_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Prefix:
    """Tokens whose keys and values are in a cache."""

    ids: list[int]
    cache: Any

    @classmethod
    def read(cls, model: PreTrainedModel, ids: Sequence[int]) -> Self:
        """Evaluate tokens, and keep what they leave in the cache."""
        import torch

        with engine_failures(), torch.no_grad():
            out = model(torch.tensor([list(ids)], device=device_of(model)), use_cache=True)
        return cls(list(ids), out.past_key_values)

    def cut_to(self, beginning: Sequence[int]) -> Self | None:
        """Keep just these tokens; None if they are not what this begins with."""
        if self.ids[: len(beginning)] != list(beginning):
            return None
        try:
            self.cache.crop(len(beginning) - self.cache.get_seq_length())
        except RuntimeError:  # a sliding window has moved on
            return None
        return replace(self, ids=list(beginning))

    def reused_for(self, prompt: Sequence[int]) -> Any:
        """The cache, cut to what the prompt begins with; None if nothing can be reused."""
        pairs = zip(self.ids, prompt[:-1], strict=False)  # one token is left to be evaluated
        shared = [mine for mine, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        kept = self.cut_to(shared) if shared else None
        return kept and kept.cache


def row_after(
    model: PreTrainedModel, prompt: Sequence[int], held: Prefix | None
) -> tuple[npt.NDArray[np.float32], Prefix | None]:
    """Evaluate a prompt, and return the raw row after it and what it leaves in the cache.

    Args:
        model: The model.
        prompt: Token ids, at least one.
        held: What is in a cache already; used as far as the prompt begins with it.

    Returns:
        The row, shape (vocabulary,), and the new prefix; None if the cache is of a kind that
        cannot be cut.

    """
    import torch

    cache: Any = held.reused_for(prompt) if held else None
    rest = list(prompt[cache.get_seq_length() if cache is not None else 0 :])
    with engine_failures(), torch.no_grad():
        ids = torch.tensor([rest], device=model.device)
        out = model(ids, past_key_values=cache, use_cache=True)
    row = out.logits[0, -1].to(torch.float32).cpu().numpy().copy()
    kept = out.past_key_values
    cuttable = type(kept).__name__ == "DynamicCache"
    return row, Prefix(list(prompt), kept) if cuttable else None
