"""What an answer leaves in the cache, and what of it the next prompt can use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Self

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
        """Keep just these tokens; None where they are not what this begins with."""
        if self.ids[: len(beginning)] != list(beginning):
            return None
        try:
            self.cache.crop(len(beginning) - self.cache.get_seq_length())
        except RuntimeError:  # a sliding window has moved on
            return None
        return replace(self, ids=list(beginning))

    def reused_for(self, prompt: Sequence[int]) -> Any:
        """The cache, cut to what the prompt begins with; None where nothing can be reused."""
        pairs = zip(self.ids, prompt[:-1], strict=False)  # one token is left to be evaluated
        shared = [mine for mine, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        kept = self.cut_to(shared) if shared else None
        return kept and kept.cache
