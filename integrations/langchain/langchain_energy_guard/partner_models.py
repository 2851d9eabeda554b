"""From the model object that a user's chain holds to the engine under it.

Knows attributes, not packages: nothing of LangChain's partners is imported here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from energy_guard import Guard
from energy_guard.errors import InputError

_WRAPPED: Final = {
    "ChatLlamaCpp": "client",  # langchain_community: a llama_cpp.Llama
    "LlamaCpp": "client",
    "HuggingFacePipeline": "pipeline",  # langchain_huggingface: a transformers pipeline
    "ChatHuggingFace": "llm",  # around one of the two above, or a hosted endpoint
}
"""LangChain's classes for models in this process, and where each keeps its engine."""

_REMOTE: Final = (
    "HuggingFaceEndpoint",
    "ChatOllama",
    "OllamaLLM",
    "ChatOpenAI",
    "OpenAI",
    "BaseChatOpenAI",
)


def engine_of(model: object) -> object:
    """Return what `energy_guard.load` takes, from whatever the user has.

    model: LangChain's `ChatLlamaCpp`, `LlamaCpp`, `HuggingFacePipeline` or `ChatHuggingFace`
    (or a subclass), whose engine is taken and stays as it is; a Guard, whose backend is taken;
    anything else is returned as it is, for `load` to judge.

    Raises InputError for a model behind an interface that shows no logits, for one with options
    bound to it, and for other LangChain models.

    >>> engine_of("demo")
    'demo'
    """
    names = _langchain_names(model)
    if any(name in _REMOTE for name in names):
        raise InputError(
            f"a {type(model).__name__} answers somewhere else: its logits never come here",
            "Guard a model in this process: llama-cpp-python or transformers.",
        )
    for name in names:
        if name in _WRAPPED:
            return engine_of(_attribute(model, _WRAPPED[name]))
    if "RunnableBinding" in names:
        raise InputError(
            f"a {type(model).__name__} is a model with options for its calls",
            "Give the model itself, without bind, with_config and the like; ChatEnergyGuard.of "
            "takes options as settings, and a handler watches the model with any options.",
        )
    if "BaseLanguageModel" in names:
        raise InputError(
            f"no engine is known in a {type(model).__name__}",
            "Give ChatLlamaCpp, LlamaCpp, HuggingFacePipeline, ChatHuggingFace, or the engine "
            "itself: a llama_cpp.Llama or (model, tokenizer).",
        )
    return model.backend if isinstance(model, Guard) else model


_SETTINGS: Final = ("temperature", "top_p", "top_k", "repeat_penalty", "max_tokens", "stop")


def settings_of(model: object) -> dict[str, Any]:
    """Return the settings of a user's LangChain model under the names of `ChatEnergyGuard`.

    Of ChatLlamaCpp and LlamaCpp their fields; of HuggingFacePipeline its `pipeline_kwargs`, over
    what its pipeline was made with, over the model's own generation config.

    >>> settings_of("demo")
    {}
    """
    names = _langchain_names(model)
    if "ChatHuggingFace" in names:
        return settings_of(getattr(model, "llm", None))
    if "HuggingFacePipeline" in names:
        given = getattr(model, "pipeline_kwargs", None) or {}
        return _from_transformers(_generation(getattr(model, "pipeline", None)) | given)
    if "ChatLlamaCpp" not in names and "LlamaCpp" not in names:
        return {}
    found = {name: getattr(model, name, None) for name in _SETTINGS}
    seed = getattr(model, "seed", -1)
    found["seed"] = None if seed < 0 else seed
    if (found["max_tokens"] or 0) < 1:  # llama.cpp's "as many as fit"
        found["max_tokens"] = None
    return {name: value for name, value in found.items() if value is not None}


_RENAMED: Final = {
    "max_new_tokens": "max_tokens",
    "repetition_penalty": "repeat_penalty",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
}

_DRAWN: Final = {"temperature": 1.0, "top_p": 1.0, "top_k": 50, "min_p": 0.0}
"""What transformers samples with if nothing else is said."""


def _from_transformers(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    given = _DRAWN | given if given.get("do_sample") else given | {"temperature": 0.0}
    return {ours: given[theirs] for theirs, ours in _RENAMED.items() if theirs in given}


def _generation(pipeline: object) -> dict[str, Any]:
    """What a pipeline of transformers generates with: many sample if nobody says otherwise."""
    own = getattr(pipeline, "generation_config", None)  # of older releases
    config = own or getattr(getattr(pipeline, "model", None), "generation_config", None)
    prepare = getattr(pipeline, "_prepare_generate_kwargs", None)
    given = prepare({}) if prepare else dict(getattr(pipeline, "_forward_params", {}))
    configs = (config, given.pop("generation_config", None))
    said = [each.to_diff_dict() for each in configs if each is not None]
    return {name: value for options in (*said, given) for name, value in options.items()}


def _langchain_names(model: object) -> list[str]:
    """The classes of LangChain and its partners that an object is of."""
    kinds = inspect.getmro(type(model))
    return [kind.__name__ for kind in kinds if kind.__module__.startswith("langchain")]


def _attribute(model: object, name: str) -> object:
    engine: object = getattr(model, name, None)
    if engine is None:
        raise InputError(
            f"this {type(model).__name__} has no {name}: its engine is not loaded",
            "Load it first, or give the engine itself.",
        )
    return engine
