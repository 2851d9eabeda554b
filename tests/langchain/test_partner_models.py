"""From a user's LangChain object to its engine and settings."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_energy_guard.partner_models import engine_of, settings_of
from tiny_models import byte_tokenizer, tiny_model

from energy_guard import Guard
from energy_guard.backends import Scripted
from energy_guard.errors import InputError

SAMPLING = {"top_p": 1.0, "top_k": 50, "min_p": 0.0}
"""What transformers samples with where nothing else is said."""


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
        (FakeListChatModel(responses=["x"]).bind(stop=["x"]), "options for its calls"),
    ],
    ids=["hosted", "hosted inside", "not loaded", "another", "bound"],
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
    assert settings_of(of_langchain("ChatHuggingFace", llm=pipe)) == SAMPLING | expected
    assert settings_of(of_langchain("HuggingFacePipeline"))["temperature"] == 0.0


class TestPipelines:
    """What we draw with is what the user's own pipeline draws with."""

    def settings(self, made_with: Any = None, **config: Any) -> dict[str, Any]:
        from transformers import pipeline

        model, tokenizer = tiny_model(), byte_tokenizer()
        model.generation_config.max_length = None
        model.generation_config.update(**config)
        pipe = pipeline("text-generation", model=model, tokenizer=tokenizer, **(made_with or {}))
        return settings_of(of_langchain("HuggingFacePipeline", pipeline=pipe))

    def test_the_models_own_config(self) -> None:
        found = self.settings(do_sample=True, temperature=0.6, top_p=0.8, repetition_penalty=1.3)
        assert found == SAMPLING | {
            "temperature": 0.6,
            "top_p": 0.8,
            "repeat_penalty": 1.3,
            "max_tokens": 256,
        }

    def test_a_pipeline_of_which_nothing_is_said_samples(self) -> None:
        assert self.settings() == SAMPLING | {"temperature": 0.7, "max_tokens": 256}

    def test_what_a_pipeline_is_made_with_counts_more(self) -> None:
        made_with = {"do_sample": False, "max_new_tokens": 12}
        assert self.settings(made_with, do_sample=True) == {"temperature": 0.0, "max_tokens": 12}

    def test_older_releases_keep_a_config_of_their_own(self) -> None:
        from transformers import GenerationConfig

        pipe = of_langchain(
            "Pipeline",
            generation_config=GenerationConfig(do_sample=True, temperature=0.7),
            _forward_params={"temperature": 0.4},
        )
        found = settings_of(of_langchain("HuggingFacePipeline", pipeline=pipe))
        assert found == SAMPLING | {"temperature": 0.4}
