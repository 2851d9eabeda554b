"""Runs in vLLM's workers: how the next token of each of our requests is chosen.

The settings are those of the other engines, in llama.cpp's order, and grammars are followed by the
same matcher: vLLM's own would rule tokens out before the numbers of a row are taken. vLLM applies
the temperature to what is left, and draws.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from energy_guard.backends.constraint import Matcher, following
from energy_guard.backends.transformers.constrain import Constraints
from energy_guard.backends.transformers.processors import adjusting, cutting
from energy_guard.backends.vllm.columns import OURS
from energy_guard.errors import EngineError
from energy_guard.request import Sampling

if TYPE_CHECKING:
    from torch import Tensor

if "vllm" in sys.modules:  # a worker imports this; whoever looks at it without vLLM may, too
    from vllm.v1.sample.logits_processor import LogitsProcessor, process_dict_updates
else:
    LogitsProcessor = object


class _Steered:
    """One request. written: its tokens so far, a list that vLLM appends to."""

    def __init__(
        self, sampling: Sampling, forced: Sequence[int], matcher: Matcher | None, written: list[int]
    ) -> None:
        self.cut = sampling if sampling.temperature > 0 else None
        self._adjusting = adjusting(sampling, 0)
        self._forced = forced
        self._matcher = matcher
        self._taken = 0
        self._written = written

    def adjust(self, row: Tensor) -> None:
        """Rule out, bias and penalise tokens of a row, shape (1, vocabulary), in place."""
        if self._forced:
            at = min(len(self._written), len(self._forced) - 1)
            row[0, self._forced[at]] = row.max() + 1.0
        elif self._adjusting or self._matcher is not None:
            self._rule_out(row)
            written = row.new_tensor([self._written]).long()
            for link in self._adjusting:
                row.copy_(link(written, row))

    def _rule_out(self, row: Tensor) -> None:
        import torch

        matcher = self._matcher
        if matcher is None:
            return
        try:
            for token in self._written[self._taken :]:
                self._taken += 1
                matcher.take(token)
        except EngineError:  # an error would end the engine; whoever asked follows it, too
            self._matcher = None
            return
        allowed = torch.from_numpy(matcher.allowed[: row.shape[1]]).to(row.device)
        row.masked_fill_(~allowed, -torch.inf)


class Steering(LogitsProcessor):  # type: ignore[misc]
    """One of vLLM's logits processors, for requests that have `OURS` in their `extra_args`."""

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        self._config = vllm_config
        self._steered: dict[int, _Steered] = {}
        self._constraints: Constraints | None = None

    def is_argmax_invariant(self) -> bool:
        """Say that greedy answers are steered, too."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow vLLM's batch: who has come, gone and moved."""
        process_dict_updates(self._steered, batch_update, self._new)

    def apply(self, logits: Tensor) -> Tensor:
        """Change the rows, shape (N, vocabulary), from which vLLM draws; in place."""
        alike: dict[tuple[Any, ...], tuple[Sampling, list[int]]] = {}
        for at, steered in self._steered.items():
            steered.adjust(logits[at : at + 1])
            if (cut := steered.cut) is not None:
                settings = (cut.top_k, cut.typical_p, cut.top_p, cut.min_p)
                alike.setdefault(settings, (cut, []))[1].append(at)
        for sampling, rows in alike.values():
            _cut(logits, rows, sampling)
        return logits

    def _new(
        self, params: Any, _prompt: Sequence[int] | None, written: list[int]
    ) -> _Steered | None:
        ours: Mapping[str, Any] | None = (params.extra_args or {}).get(OURS)
        if ours is None:
            return None
        sampling = Sampling(**{**ours["sampling"], "logit_bias": dict(ours["logit_bias"])})
        return _Steered(sampling, ours["forced"], self._matcher(ours), written)

    def _matcher(self, ours: Mapping[str, Any]) -> Matcher | None:
        if not ours["grammar"]:
            return None
        constraints = self._constraints
        if constraints is None:
            from vllm.tokenizers import cached_tokenizer_from_config

            tokenizer = cached_tokenizer_from_config(self._config.model_config)
            constraints = self._constraints = Constraints(tokenizer, ours["ends"], ours["size"])
        return following(constraints.vocabulary, ours["grammar"], ours["ends"], ours["size"])


def _cut(logits: Tensor, rows: list[int], sampling: Sampling) -> None:
    """Leave only the likelier tokens of some rows; of the likeliest alone where there is a top_k.

    What is left of a row is the same, and a whole vocabulary is not sorted for it.
    """
    import torch

    chain = cutting(sampling)
    if not chain:
        return
    at = torch.tensor(rows, device=logits.device)
    table = logits[at]
    if 0 < sampling.top_k < table.shape[1]:
        table, ids = table.topk(sampling.top_k, dim=-1)
    else:
        ids = None
    for link in chain:
        table = link(None, table)
    if ids is not None:
        table = torch.full_like(logits[at], -torch.inf).scatter_(1, ids, table)
    logits[at] = table
