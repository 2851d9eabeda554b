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

    Raises InputError for a model behind an interface that shows no logits, and for other
    LangChain models.

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

    Of ChatLlamaCpp and LlamaCpp their fields, of HuggingFacePipeline its `pipeline_kwargs`.

    >>> settings_of("demo")
    {}
    """
    names = _langchain_names(model)
    if "ChatHuggingFace" in names:
        return settings_of(getattr(model, "llm", None))
    if "HuggingFacePipeline" in names:
        return _from_transformers(getattr(model, "pipeline_kwargs", None) or {})
    if "ChatLlamaCpp" not in names and "LlamaCpp" not in names:
        return {}
    found = {name: getattr(model, name, None) for name in _SETTINGS}
    seed = getattr(model, "seed", -1)
    found["seed"] = None if seed < 0 else seed
    if (found["max_tokens"] or 0) < 1:  # llama.cpp's "as many as fit"
        found["max_tokens"] = None
    return {name: value for name, value in found.items() if value is not None}


def _from_transformers(given: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {
        "max_new_tokens": "max_tokens",
        "repetition_penalty": "repeat_penalty",
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "min_p": "min_p",
    }
    found = {renamed[name]: given[name] for name in renamed if given.get(name) is not None}
    if not given.get("do_sample"):
        found["temperature"] = 0.0
    return found


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
