"""Answers that exist, evaluated many tokens at once: a slice of rows at a time, never all.

And, in one such pass, what layers make of the text up to a token, for probes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from energy_guard.backends.base import HiddenStates
from energy_guard.backends.transformers.check import vectors_of
from energy_guard.backends.transformers.job import engine_failures
from energy_guard.backends.transformers.offload import device_of
from energy_guard.backends.transformers.read_along import Choice
from energy_guard.backends.transformers.reduce import RowsReducer, scaled_rows_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_SLICE: Final = 2**24
"""Logits in memory at once: 64 MiB in float32, and some temporary copies of as much."""


def read_given(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    inverse_temperatures: Sequence[float],
) -> Iterator[list[Choice]]:
    """Yield the choices of every step of a batch, and of one more: the rows after the answers.

    Prompts are padded on the left and answers on the right, with their last token, so that all
    answers begin in the same column. The vocabulary is projected for a slice of columns at a
    time.
    """
    import torch

    width, length = max(map(len, prompts)), max(map(len, answers))
    ids = torch.tensor(
        [
            [0] * (width - len(prompt)) + [*prompt, *answer, *[answer[-1]] * (length - len(answer))]
            for prompt, answer in zip(prompts, answers, strict=True)
        ],
        device=device_of(model),
    )
    padding = torch.tensor([width - len(prompt) for prompt in prompts], device=device_of(model))
    columns = max(1, _SLICE // (len(ids) * vectors_of(model)))
    reader = _Reader(model, ids, padding, columns)
    before, reducer = reader.prompt(width), RowsReducer()
    for start in range(width, width + length, columns):
        chosen = ids[:, start : start + columns]
        after = reader.read(start, start + chosen.shape[1])
        choosing = torch.cat((before, after[:, :-1]), dim=1).float()
        before = after[:, -1:]
        betas = [beta for beta in inverse_temperatures for _ in range(chosen.shape[1])]
        flat = choosing.flatten(0, 1)
        rows, logits = scaled_rows_of(reducer, flat, betas, chosen.flatten())
        choices = [
            Choice(token, logit, row, None)
            for token, logit, row in zip(chosen.flatten().tolist(), logits, rows, strict=True)
        ]
        for t in range(chosen.shape[1]):
            yield choices[t :: chosen.shape[1]]
    last = before.float()[:, 0]
    rows, logits = scaled_rows_of(reducer, last, inverse_temperatures, ids[:, -1])
    yield [Choice(*each, None) for each in zip(ids[:, -1].tolist(), logits, rows, strict=True)]


class _Reader:
    """Feeds columns of ids through the model, with a key-value cache."""

    def __init__(self, model: PreTrainedModel, ids: Tensor, padding: Tensor, columns: int) -> None:
        self._model = model
        self._ids = ids
        self._columns = columns
        self._cache: Any = None
        self._takes = signature(model.forward).parameters.keys()
        mask = ids.new_ones(ids.shape).cumsum(1) > padding[:, None]
        self._mask = None if bool(mask.all()) else mask.long()
        self._positions = (mask.long().cumsum(1) - 1).clamp_(min=0)

    def prompt(self, width: int) -> Tensor:
        """Read the prompts, and return the last column of rows."""
        if "logits_to_keep" in self._takes:
            return self.read(0, width, logits_to_keep=1)
        rows = self._ids
        for start in range(0, width, self._columns):  # all rows are made: so not all at once
            rows = self.read(start, min(start + self._columns, width))[:, -1:]
        return rows

    def read(self, start: int, end: int, **options: Any) -> Tensor:
        """Read some columns, and return their rows, shape (N, columns, vocabulary)."""
        import torch

        if "position_ids" in self._takes:
            options["position_ids"] = self._positions[:, start:end]
        with torch.no_grad():
            out = self._model(
                input_ids=self._ids[:, start:end],
                attention_mask=None if self._mask is None else self._mask[:, :end],
                past_key_values=self._cache,
                use_cache=True,
                return_dict=True,
                **options,
            )
        self._cache = out.past_key_values
        logits: Tensor = out.logits
        return logits


def read_states(
    model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int]
) -> HiddenStates:
    """Return the states of the answer's last token, in one pass over prompt and answer."""
    import torch

    ids = torch.tensor([[*prompt, *answer]], device=device_of(model))
    takes = signature(model.forward).parameters.keys()
    options = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
    with engine_failures(), torch.no_grad():
        out = model(ids, output_hidden_states=True, use_cache=False, return_dict=True, **options)
        last = len(out.hidden_states) - 1
        layers = (last // 2, last)
        values = [out.hidden_states[layer][0, -1].float().cpu().numpy() for layer in layers]
    return HiddenStates(len(answer) - 1, layers, np.array(values, dtype=np.float32))
