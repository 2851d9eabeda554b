"""Which model is this? A digest of configuration, adapters and sampled weights."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.transformers.offload import weights_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_SAMPLES: Final = 64
"""Values read of each tensor, evenly spaced."""

_NOT_THE_MODEL: Final = frozenset(
    {
        *("_name_or_path", "transformers_version", "_attn_implementation", "use_cache"),
        *("architectures", "dtype", "torch_dtype"),  # first written down by save_pretrained
        *("pad_token_id", "return_dict", "output_attentions", "output_hidden_states"),
    }
)
"""Configuration that says where a model lies or how it is run, not what it computes. Its class
and the precision of its weights are read from the model itself."""


def fingerprint(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chat_template: str | None = None
) -> str:
    """Return 32 hexadecimal digits that change with weights, precision, adapters and template.

    chat_template: used instead of the tokenizer's own. They do not change with the device or the
    place of the files, nor with weights that accelerate keeps elsewhere.

    Raises InputError for weights without values.
    """
    config = {k: v for k, v in model.config.to_diff_dict().items() if k not in _NOT_THE_MODEL}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    template = chat_template or tokenizer.chat_template
    digest.update(repr((type(model).__name__, len(tokenizer), template)).encode())
    digest.update("".join(_adapters(model)).encode())
    for name, tensor in weights_of(model):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if tensor.numel():
            digest.update(_sampled(tensor))
    return digest.hexdigest()[:32]


def _adapters(model: PreTrainedModel) -> list[str]:
    """The layers of PEFT: their weights do not tell whether they are on, and how strongly."""
    layers: Any = model.named_modules()
    return [
        repr((name, layer.disable_adapters, layer.active_adapters, getattr(layer, "scaling", None)))
        for name, layer in layers
        if isinstance(getattr(layer, "disable_adapters", None), bool)  # a method of the model
    ]


def _sampled(tensor: Tensor) -> bytes:
    """Evenly spaced values as float32: the same bytes on every device."""
    import torch

    flat = tensor.detach().reshape(-1)
    at = torch.linspace(0, flat.numel() - 1, min(_SAMPLES, flat.numel()), dtype=torch.float64)
    values: bytes = (
        flat[at.round().long().to(flat.device)].to("cpu", torch.float32).numpy().tobytes()
    )
    return values
