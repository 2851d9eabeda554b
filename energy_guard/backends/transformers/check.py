"""Can this model be guarded, and does the tokenizer belong to it?"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from energy_guard.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_PADDING: Final = 0.05
"""Share of a model's vectors that may be padding, with no token of the tokenizer behind them."""


def is_model(engine: object) -> bool:
    """Tell a transformers model without importing transformers."""
    return "transformers.modeling_utils.PreTrainedModel" in _kinds(engine)


def is_tokenizer(engine: object) -> bool:
    """Tell a transformers tokenizer without importing transformers."""
    return "transformers.tokenization_utils_base.PreTrainedTokenizerBase" in _kinds(engine)


def is_pipeline(engine: object) -> bool:
    """Tell a transformers pipeline without importing transformers."""
    return "transformers.pipelines.base.Pipeline" in _kinds(engine)


def _kinds(engine: object) -> set[str]:
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in inspect.getmro(type(engine))}


def check_model(model: PreTrainedModel) -> None:
    """Raise InputError where the model does not write text by itself, token by token."""
    name = type(model).__name__
    check_config(model.config, name)
    if not model.can_generate():
        raise InputError(
            f"{name} has no generation head, so it has no logits to read",
            "Load it as AutoModelForCausalLM.",
        )


def check_config(config: Any, name: str) -> None:
    """Raise InputError where the configuration is of an encoder-decoder model."""
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"{name} is an encoder-decoder model, and its answers are not continuations",
            "Use a decoder-only model (…ForCausalLM).",
        )


def vectors_of(model: PreTrainedModel) -> int:
    """How many tokens the model has vectors for: more than it has tokens, where they are padded."""
    embeddings: Any = model.get_input_embeddings()
    return int(embeddings.weight.shape[0])


def check_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise InputError where the tokenizer's vocabulary is not the model's."""
    tokens, vectors = len(tokenizer), vectors_of(model)
    if tokens > vectors or tokens < vectors * (1 - _PADDING):
        raise InputError(
            f"the tokenizer has {tokens} tokens and the model {vectors}: "
            "they do not belong together",
            "Load both from the same directory or hub id (or resize the model's embeddings).",
        )
