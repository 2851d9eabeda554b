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
from energy_guard.backends.vllm.columns import OURS
from energy_guard.backends.vllm.steered import Steered, steer
from energy_guard.request import Sampling

if TYPE_CHECKING:
    from torch import Tensor

_OfBothRunners: Any = object
if "vllm" in sys.modules:  # a worker imports this; whoever looks at it without vLLM may, too
    from vllm.v1.sample.logits_processor import LogitsProcessor, process_dict_updates
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as OfSecondRunner

    class _LogitsProcessor(LogitsProcessor, OfSecondRunner):  # type: ignore[misc]
        """vLLM is told one class, before it says which of its runners it uses."""

    _OfBothRunners = _LogitsProcessor


class Steering(_OfBothRunners):  # type: ignore[misc]
    """One of vLLM's logits processors, for requests that have `OURS` in their `extra_args`.

    The V1 runner gives its device, tells who has come, gone and moved, and hands over the tokens
    of each. The V2 runner gives its table of requests, in which each keeps its place, and where
    their tokens are looked up.
    """

    def __init__(self, vllm_config: Any, of_runner: Any, is_pin_memory: bool = False) -> None:
        self._config = vllm_config
        self._table = of_runner
        self._steered: dict[int, Steered] = {}
        self._constraints: Constraints | None = None

    def is_argmax_invariant(self) -> bool:
        """Say that greedy answers are steered, too."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow the batch of a V1 runner."""
        process_dict_updates(self._steered, batch_update, self._new)

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Follow the table of a V2 runner; say whether the rows of this request are changed."""
        self._steered.pop(req_idx, None)
        steered = self._new(sampling_params, None, [])
        if steered is None or not (steered.adjusts or steered.cut):
            return False
        self._steered[req_idx] = steered
        return True

    def apply(self, logits: Tensor, ctx: Any = None) -> Tensor:
        """Change the rows, shape (N, vocabulary), from which vLLM draws; in place.

        Args:
            logits: of a batch.
            ctx: which request of its table each row is of; a V2 runner's, without speculation.
        """
        if ctx is None:
            steer(logits, self._steered.items())
            return logits
        places = ctx.idx_mapping_np.tolist()
        rows = [(at, place) for at, place in enumerate(places) if place in self._steered]
        self._look_up([place for _, place in rows if self._steered[place].adjusts])
        steer(logits, [(at, self._steered[place]) for at, place in rows])
        return logits

    def _look_up(self, places: Sequence[int]) -> None:
        """Append what requests of a V2 runner have written since it was looked up."""
        if not places:
            return
        table = self._table
        totals = table.total_len.gpu[list(places)].tolist()
        for place, total in zip(places, totals, strict=True):
            written = self._steered[place].written
            begin = int(table.prompt_len.np[place]) + len(written)
            written += table.all_token_ids.gpu[place, begin:total].tolist()

    def _new(
        self, params: Any, _prompt: Sequence[int] | None, written: list[int]
    ) -> Steered | None:
        ours: Mapping[str, Any] | None = (params.extra_args or {}).get(OURS)
        if ours is None:
            return None
        sampling = Sampling(**{**ours["sampling"], "logit_bias": dict(ours["logit_bias"])})
        return Steered(sampling, ours["forced"], self._matcher(ours), written)

    def _matcher(self, ours: Mapping[str, Any]) -> Matcher | None:
        if not ours["grammar"]:
            return None
        constraints = self._constraints
        if constraints is None:
            from vllm.tokenizers import cached_tokenizer_from_config

            tokenizer = cached_tokenizer_from_config(self._config.model_config)
            constraints = self._constraints = Constraints(tokenizer, ours["ends"], ours["size"])
        return following(constraints.vocabulary, ours["grammar"], ours["ends"], ours["size"])
