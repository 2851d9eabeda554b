"""From the model object that a user's chain holds to the engine under it.

Knows attributes, not packages: nothing of LangChain's partners is imported here.
"""

from __future__ import annotations

import inspect
from typing import Final

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
    kinds = inspect.getmro(type(model))
    names = [kind.__name__ for kind in kinds if kind.__module__.startswith("langchain")]
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
    if any(kind.__module__ == "energy_guard.guard" and kind.__name__ == "Guard" for kind in kinds):
        return _attribute(model, "backend")
    return model


def _attribute(model: object, name: str) -> object:
    engine: object = getattr(model, name, None)
    if engine is None:
        raise InputError(
            f"this {type(model).__name__} has no {name}: its engine is not loaded",
            "Load it first, or give the engine itself.",
        )
    return engine
