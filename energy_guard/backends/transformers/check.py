"""Can this model be guarded, does the tokenizer belong to it, and do options of `generate` fit?"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from energy_guard.errors import ConfigError, InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_PADDING: Final = 0.05
"""Share of a model's vectors that may be padding, with no token of the tokenizer behind them,
without further questions."""


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


def without_compile(engine: object) -> object:
    """The model inside what `torch.compile` returns, whose `generate` is the model's own."""
    if "torch._dynamo.eval_frame.OptimizedModule" in _kinds(engine):
        inner: object = engine._orig_mod  # type: ignore[attr-defined]
        return inner
    return engine


def check_model(model: PreTrainedModel) -> None:
    """Raise InputError if the model does not write text by itself, token by token."""
    name = type(model).__name__
    check_config(model.config, name)
    if not model.can_generate():
        raise InputError(
            f"{name} has no generation head, so it has no logits to read",
            "Load it as AutoModelForCausalLM.",
        )


def check_config(config: Any, name: str) -> None:
    """Raise InputError if the configuration is of an encoder-decoder model."""
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
    """Raise InputError if the tokenizer's vocabulary is not the model's.

    Sizes differ in checkpoints whose parts do belong together: tokens were added that the model
    has no vectors for, or vectors were padded generously. Then the model's own end token says
    whether the tokenizer is its tokenizer.
    """
    tokens, vectors = len(tokenizer), vectors_of(model)
    if vectors * (1 - _PADDING) <= tokens <= vectors:
        return
    without = set(range(vectors, tokens)) - tokenizer.added_tokens_decoder.keys()
    end = tokenizer.eos_token_id
    if without or end is None or end >= vectors or end not in end_tokens(model):
        raise InputError(
            f"the tokenizer has {tokens} tokens and the model {vectors}, and no end token says "
            "that they belong together",
            "Give the tokenizer that the model was trained with. If it is that one: set its "
            "eos_token_id in the model's generation_config, or make the sizes equal "
            "(model.resize_token_embeddings(len(tokenizer))).",
        )


def end_tokens(model: PreTrainedModel) -> list[int]:
    """Tokens at which the model's generation settings end an answer."""
    stated = getattr(model.generation_config, "eos_token_id", None)
    listed = stated if isinstance(stated, list) else [stated]
    return [token for token in listed if token is not None]


_OF_REQUESTS: Final = (
    "Requests say how long an answer gets and how tokens are drawn; for anything else put "
    "`capture` around your own call of generate."
)
_OF_PROMPTS: Final = "Prompts are encoded and padded here: give them as requests."

_REFUSED: Final = {
    **dict.fromkeys(
        (
            *("num_beams", "num_return_sequences", "assistant_model", "prompt_lookup_num_tokens"),
            *("custom_generate", "past_key_values", "return_dict_in_generate"),
            *("max_new_tokens", "max_length", "do_sample", "temperature", "stop_strings"),
        ),
        _OF_REQUESTS,
    ),
    **dict.fromkeys(
        ("inputs", "input_ids", "inputs_embeds", "attention_mask", "position_ids"), _OF_PROMPTS
    ),
    "eos_token_id": "Set it in the model's generation_config, whose end tokens are used.",
    "pad_token_id": "Set pad_token on the tokenizer, or leave it: what is padded is masked.",
    "generation_config": "Give those of its settings that you need, each as an option.",
}
"""Options of `generate` that write other sequences than one a request, token by token; those that
a request states itself; and those that are filled in here. With what to do instead."""

_BESIDE: Final = frozenset({"tokenizer", "assistant_tokenizer"})
"""Arguments that `generate` takes and does not list."""


def check_generation(model: PreTrainedModel, options: Mapping[str, Any]) -> None:
    """Raise ConfigError for options of `generate` that cannot be set, or that there are not."""
    from transformers import GenerationConfig

    refused = sorted(_REFUSED.keys() & options.keys())
    if refused:
        raise ConfigError(
            f"generation: {', '.join(refused)} cannot be set here",
            " ".join(dict.fromkeys(_REFUSED[name] for name in refused)),
        )
    make: Any = GenerationConfig
    generating: Any = model
    known = {*vars(make()), *inspect.signature(generating.generate).parameters, *_BESIDE}
    for name in options.keys() - known:
        try:
            generating._validate_model_kwargs({name: options[name]})
        except ValueError as error:
            raise ConfigError(
                f"generation: neither generate nor {type(model).__name__} has an option {name!r}",
                "Look for a typing error.",
            ) from error
