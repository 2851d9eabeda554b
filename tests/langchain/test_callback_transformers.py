"""The handlers over LangChain's transformers models, on a tiny one with random weights."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_energy_guard.callback import (
    AsyncEnergyGuardCallbackHandler,
    EnergyGuardCallbackHandler,
)
from langchain_energy_guard.errors import AnswerRetryError, AnswerWithheldError
from langchain_energy_guard.guarded import guarded
from tiny_models import byte_tokenizer, tiny_model
from transformers import pipeline

from energy_guard import Policy
from energy_guard.errors import EngineBusyError, InputError

huggingface = pytest.importorskip(
    "langchain_huggingface", reason="its upper bound on transformers is older than ours"
)
ChatHuggingFace = huggingface.ChatHuggingFace
HuggingFacePipeline = huggingface.HuggingFacePipeline

SHOWS = Policy(detector="nll:max", warn=500.0, abstain=999.0, unscored="show")
WITHHOLDS = Policy(detector="nll:max", warn=0.0, abstain=0.0)


@pytest.fixture
def text() -> Iterator[Any]:
    """A text model; its engine is found as it was."""
    model, tokenizer = tiny_model(), byte_tokenizer()
    model.generation_config.pad_token_id = tokenizer.pad_token_id = 0
    model.generation_config.max_length = None
    pipe = pipeline(
        "text-generation", model=model, tokenizer=tokenizer, max_new_tokens=12, do_sample=False
    )
    before = set(vars(model))
    yield HuggingFacePipeline(pipeline=pipe)
    assert set(vars(model)) == before


@pytest.fixture
def chat(text: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it looks into langchain-community
        return ChatHuggingFace(llm=text, tokenizer=text.pipeline.tokenizer)


def watched(handler: Any) -> Any:
    return {"callbacks": [handler]}


def test_a_chat_is_judged(chat: Any) -> None:
    plain = chat.invoke("Hello")
    handler = EnergyGuardCallbackHandler(chat, SHOWS, details="full")
    answer = chat.invoke("Hello", watched(handler))
    assert answer.content == plain.content
    assert answer.content.endswith(answer.response_metadata["energy_guard"]["answer"])


def test_a_withheld_chat_ends_with_the_error(chat: Any) -> None:
    with pytest.raises(AnswerWithheldError) as caught:
        chat.invoke("Hello", watched(EnergyGuardCallbackHandler(chat, WITHHOLDS)))
    assert len(caught.value.result.trace) == 12


def test_the_last_chunk_has_the_verdict(chat: Any) -> None:
    chunks = list(chat.stream("Hello", watched(EnergyGuardCallbackHandler(chat, SHOWS))))
    having = ["energy_guard" in chunk.response_metadata for chunk in chunks]
    assert having == [False] * (len(chunks) - 1) + [True]


def test_a_text_is_judged(text: Any) -> None:
    handler = EnergyGuardCallbackHandler(text, SHOWS)
    (generation,) = text.generate(["Hello"], callbacks=[handler]).generations[0]
    assert generation.generation_info["energy_guard"]["finish_reason"] == "length"
    with pytest.raises(AnswerWithheldError):
        list(text.stream("Hello", watched(EnergyGuardCallbackHandler(text, WITHHOLDS))))


def test_several_prompts_go_one_by_one(text: Any) -> None:
    handler = EnergyGuardCallbackHandler(text, SHOWS)
    with pytest.raises(InputError, match="max_concurrency"):
        text.batch(["Hello", "Goodbye"], watched(handler))
    one_by_one = {**watched(handler), "max_concurrency": 1}
    assert len(text.batch(["Hello", "Goodbye"], one_by_one)) == 2


def test_concurrent_runs_are_queued(text: Any) -> None:
    handler = AsyncEnergyGuardCallbackHandler(text, SHOWS, details="full")

    async def several() -> list[Any]:
        asked = [text.agenerate([f"Say {n}"], callbacks=[handler]) for n in range(5)]
        return await asyncio.gather(*asked)

    for (generation,) in (result.generations[0] for result in asyncio.run(several())):
        assert generation.text.endswith(generation.generation_info["energy_guard"]["answer"])


def test_a_retry_samples(chat: Any) -> None:
    errors: list[AnswerRetryError] = []
    rules = Policy(detector="nll:max", warn=0.0, abstain=0.0, retries=2)
    chain = guarded(chat, rules, model=chat, more=lambda given, e: errors.append(e) or given)
    assert chain.invoke("Hello").content == rules.abstention_text
    greedy, sampled = [error.partial for error in errors]
    assert greedy != sampled


def test_a_stream_that_is_closed_gives_the_engine_back(chat: Any) -> None:
    handler = EnergyGuardCallbackHandler(chat, SHOWS)
    stream = chat.stream("Hello", watched(handler))
    next(stream)
    stream.close()
    assert chat.invoke("Hello", watched(handler)).content


def test_a_sync_handler_does_not_stop_the_event_loop(text: Any) -> None:
    """A second run would have to wait in the loop: it is refused, with what to use."""
    handler = EnergyGuardCallbackHandler(text, SHOWS)

    async def several() -> list[Any]:
        asked = [text.agenerate([f"Say {n}"], callbacks=[handler]) for n in range(2)]
        return await asyncio.gather(*asked, return_exceptions=True)

    first, second = asyncio.run(several())
    assert first.generations
    assert isinstance(second, EngineBusyError)
    assert "AsyncEnergyGuardCallbackHandler" in second.hint
