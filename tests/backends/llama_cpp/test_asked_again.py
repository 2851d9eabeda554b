"""The same question has the same answer and the same numbers, whatever was asked before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from llama_cpp import Llama

from energy_guard import Guard, Trace, load
from energy_guard.backends.demo_model import demo_path
from energy_guard.request import Message, Request

QUESTIONS = [
    "What is the capital of France?",
    "What is the capital of France, and of Peru?",
    "Who wrote Hamlet?",
    "Name three oceans.",
    "What is 7 times 8",
]
OTHER = "What is the capital of Spain?"
TOKENS = 5


def opened(**options: Any) -> Llama:
    return Llama(
        str(demo_path()), n_ctx=512, n_threads=1, n_threads_batch=1, verbose=False, **options
    )


def ask(llm: Llama, question: str) -> Trace:
    return Guard(llm).ask(question, max_tokens=TOKENS).trace


def assert_same(mine: Trace, other: Trace) -> None:
    assert mine.ids.tolist() == other.ids.tolist()
    for name in ("nll", "log_partition", "entropy"):
        np.testing.assert_allclose(getattr(mine, name), getattr(other, name), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def fresh() -> dict[str, Trace]:
    """Answers of an engine that forgets what was asked before."""
    llm, traces = opened(), {}
    for question in QUESTIONS:
        llm.reset()
        llm._ctx.kv_cache_clear()
        traces[question] = ask(llm, question)
    llm.close()
    return traces


@pytest.fixture(scope="module")
def used() -> Iterator[Llama]:
    llm = opened()
    yield llm
    llm.close()


@pytest.mark.parametrize("question", QUESTIONS)
def test_asked_again_after_itself_and_after_another(
    used: Llama, fresh: dict[str, Trace], question: str
) -> None:
    for earlier in (OTHER, question, question):
        ask(used, earlier)
        assert_same(ask(used, question), fresh[question])


@pytest.mark.parametrize("question", QUESTIONS[:3])
def test_asked_again_after_own_calls_of_the_user(
    used: Llama, fresh: dict[str, Trace], question: str
) -> None:
    ask(used, question)
    prompt: Any = load(used)._prompts.encode(Request.chat(question))
    used.create_completion(prompt, max_tokens=3, temperature=0)

    assert_same(ask(used, question), fresh[question])


def test_asked_again_after_a_stream_that_was_closed(used: Llama, fresh: dict[str, Trace]) -> None:
    question = QUESTIONS[0]
    stream = Guard(used).stream(question, max_tokens=TOKENS)
    next(stream)
    next(stream)
    stream.close()

    assert_same(ask(used, question), fresh[question])


def test_a_chat_that_goes_on_is_read_as_if_it_were_new(used: Llama) -> None:
    first = ask(used, OTHER)
    chat = [Message("user", OTHER), Message("assistant", first.text), Message("user", "Why?")]
    going_on = Guard(used).ask(chat, max_tokens=TOKENS).trace
    used.reset()
    used._ctx.kv_cache_clear()
    ask(used, "Hello")

    assert_same(Guard(used).ask(chat, max_tokens=TOKENS).trace, going_on)


def test_many_with_what_they_share(used: Llama, fresh: dict[str, Trace]) -> None:
    requests = [Request.chat(question, max_tokens=TOKENS) for question in QUESTIONS]
    for result, question in zip(
        Guard(used).ask_many(requests, sharing=requests), QUESTIONS, strict=True
    ):
        assert_same(result.trace, fresh[question])


def test_a_replay_has_the_numbers_of_an_answer_asked_again(
    used: Llama, fresh: dict[str, Trace]
) -> None:
    question = QUESTIONS[2]
    ask(used, question)

    replayed = Guard(used).score(question, fresh[question].ids.tolist()).trace

    assert_same(replayed, fresh[question])


@pytest.mark.parametrize("batch", [8, 16])
def test_a_prompt_whose_last_batch_would_be_one_token(batch: int) -> None:
    """It is read in other batches, so that what is there already makes no difference."""
    llm = opened(n_batch=batch)
    guard = Guard(llm)
    ids = load(llm)._prompts.encode(Request.chat("Name some of the oceans that you know of."))
    ids = tuple(ids[: len(ids) // batch * batch - batch + 1])
    alone = guard.ask(Request(ids=ids, max_tokens=3)).trace
    for cut in (1, 3, batch):
        guard.ask(Request(ids=ids[:-cut], max_tokens=2))
        assert_same(guard.ask(Request(ids=ids, max_tokens=3)).trace, alone)
    llm.close()
