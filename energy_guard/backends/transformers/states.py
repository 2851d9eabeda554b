"""Hidden states of one token, for probes: what layers make of the text up to it."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import TYPE_CHECKING

import numpy as np

from energy_guard.backends.base import HiddenStates
from energy_guard.backends.transformers.failures import engine_failures

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def read_states(
    model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int]
) -> HiddenStates:
    """Return the states of the answer's last token, in one pass over prompt and answer."""
    import torch

    ids = torch.tensor([[*prompt, *answer]], device=model.device)
    takes = signature(model.forward).parameters.keys()
    options = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
    with engine_failures(), torch.no_grad():
        out = model(ids, output_hidden_states=True, use_cache=False, return_dict=True, **options)
        last = len(out.hidden_states) - 1
        layers = (last // 2, last)
        values = [out.hidden_states[layer][0, -1].float().cpu().numpy() for layer in layers]
    return HiddenStates(len(answer) - 1, layers, np.array(values, dtype=np.float32))
