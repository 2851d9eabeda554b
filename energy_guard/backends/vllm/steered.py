"""How the next token of one request is chosen, in vLLM's workers; see `steering`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from energy_guard.backends.constraint import Matcher
from energy_guard.backends.transformers.processors import adjusting, cutting
from energy_guard.errors import EngineError
from energy_guard.request import Sampling

if TYPE_CHECKING:
    from torch import Tensor


class Steered:
    """One request. written: its tokens so far, a list that somebody appends to.

    cut: the settings by which less likely tokens are left out; None if the answer is not drawn.
    """

    def __init__(
        self, sampling: Sampling, forced: Sequence[int], matcher: Matcher | None, written: list[int]
    ) -> None:
        self.cut = sampling if sampling.temperature > 0 else None
        self.written = written
        self._adjusting = adjusting(sampling, 0)
        self._forced = forced
        self._matcher = matcher
        self._taken = 0

    @property
    def adjusts(self) -> bool:
        """Whether single tokens are ruled out, biased or penalised, by what has been written."""
        return bool(self._forced or self._adjusting or self._matcher is not None)

    def adjust(self, row: Tensor) -> None:
        """Rule out, bias and penalise tokens of a row, shape (1, vocabulary), in place."""
        if self._forced:
            at = min(len(self.written), len(self._forced) - 1)
            row[0, self._forced[at]] = row.max() + 1.0
        elif self.adjusts:
            self._rule_out(row)
            written = row.new_tensor([self.written]).long()
            for link in self._adjusting:
                row.copy_(link(written, row))

    def _rule_out(self, row: Tensor) -> None:
        import torch

        matcher = self._matcher
        if matcher is None:
            return
        try:
            for token in self.written[self._taken :]:
                self._taken += 1
                matcher.take(token)
        except EngineError:  # an error would end the engine; whoever asked follows it, too
            self._matcher = None
            return
        allowed = torch.from_numpy(matcher.allowed[: row.shape[1]]).to(row.device)
        row.masked_fill_(~allowed, -torch.inf)


def steer(logits: Tensor, steered: Iterable[tuple[int, Steered]]) -> None:
    """Change rows from which vLLM draws, shape (N, vocabulary), in place.

    Args:
        logits: of a batch.
        steered: rows with the requests that they are of.
    """
    alike: dict[tuple[Any, ...], tuple[Sampling, list[int]]] = {}
    for at, one in steered:
        one.adjust(logits[at : at + 1])
        if (cut := one.cut) is not None:
            settings = (cut.top_k, cut.typical_p, cut.top_p, cut.min_p)
            alike.setdefault(settings, (cut, []))[1].append(at)
    for sampling, rows in alike.values():
        _cut(logits, rows, sampling)


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
