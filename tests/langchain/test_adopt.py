"""From a user's LangChain object to its engine and settings."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_energy_guard.adopt import engine_of, settings_of

from energy_guard import Guard
from energy_guard.backends import Scripted
from energy_guard.errors import InputError


def of_langchain(name: str, **attributes: Any) -> Any:
    """An object of a class that LangChain's partners have."""
    return type(name, (), {"__module__": "langchain_partner", **attributes})()


def test_what_load_takes_passes() -> None:
    backend = Scripted.saying([("x", 0.9)])
    assert engine_of("demo") == "demo"
    assert engine_of(backend) is engine_of(Guard(backend)) is backend


def test_engines_inside() -> None:
    engine = object()
    pipeline = of_langchain("HuggingFacePipeline", pipeline=engine, pipeline_kwargs=None)
    assert engine_of(of_langchain("ChatLlamaCpp", client=engine)) is engine
    assert engine_of(of_langchain("LlamaCpp", client=engine)) is engine
    assert engine_of(of_langchain("ChatHuggingFace", llm=pipeline)) is engine


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (of_langchain("ChatOllama"), "answers somewhere else"),
        (of_langchain("ChatHuggingFace", llm=of_langchain("HuggingFaceEndpoint")), "somewhere"),
        (of_langchain("ChatLlamaCpp", client=None), "is not loaded"),
        (FakeListChatModel(responses=["x"]), "no engine is known"),
    ],
    ids=["hosted", "hosted inside", "not loaded", "another"],
)
def test_models_without_logits(model: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        engine_of(model)


def test_settings() -> None:
    llama = of_langchain("LlamaCpp", temperature=0.8, top_p=0.9, max_tokens=-1, stop=["."], seed=-1)
    assert settings_of(llama) == {"temperature": 0.8, "top_p": 0.9, "stop": ["."]}
    given = {"max_new_tokens": 9, "temperature": 0.7, "do_sample": True, "repetition_penalty": 1.2}
    pipe = of_langchain("HuggingFacePipeline", pipeline_kwargs=given)
    expected = {"max_tokens": 9, "temperature": 0.7, "repeat_penalty": 1.2}
    assert settings_of(of_langchain("ChatHuggingFace", llm=pipe)) == expected
    assert settings_of(of_langchain("HuggingFacePipeline"))["temperature"] == 0.0
