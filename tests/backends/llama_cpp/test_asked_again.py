"""The same question has the same answer and the same numbers, whatever was asked before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from llama_cpp import Llama

from benchmarks.models import is_here, model_path
from energy_guard import Guard, Trace, capture, load
from energy_guard.backends.demo_model import demo_path
from energy_guard.backends.llama_cpp.batches import Batches
from energy_guard.backends.llama_cpp.prompt_cache import cut_back
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


LONG = "An engine reads a prompt in batches, and in each batch by groups of a few tokens. " * 40
OTHER_END = "Something else, then."


def ids_of(llm: Llama, text: str, count: int) -> tuple[int, ...]:
    return tuple(llm.tokenize(text.encode(), add_bos=True)[:count])


def assert_same_whatever_is_shared(llm: Llama, length: int, cuts: Sequence[int]) -> None:
    """Ask what begins as another prompt does, and compare with a start without anything.

    One of the others has a few tokens and no more: those are read by other kernels.
    """
    prompt = Request(ids=ids_of(llm, LONG, length), max_tokens=3)
    llm.reset()
    llm._ctx.kv_cache_clear()
    alone = Guard(llm).ask(prompt).trace
    assert alone.prompt_tokens == length
    few = ids_of(llm, LONG, 6)
    for before in (few, *((*ids_of(llm, LONG, cut), *ids_of(llm, OTHER_END, 9)) for cut in cuts)):
        Guard(llm).ask(Request(ids=before, max_tokens=2))
        assert_same(Guard(llm).ask(prompt).trace, alone)


def test_a_prompt_that_begins_as_another_one_does(used: Llama) -> None:
    assert_same_whatever_is_shared(used, 40, [2, 23, 38, 39])


def test_weights_that_are_multiplied_token_by_token_let_a_prompt_be_cut_anywhere() -> None:
    llm = opened()
    if Batches.of(llm).step > 1:
        pytest.skip("this processor multiplies several tokens at once")
    ids = ids_of(llm, LONG, 25)
    rows = []
    for cut in (0, 2, 7, 18, 22, 23):
        llm.reset()
        llm._ctx.kv_cache_clear()
        Guard(llm).ask(Request(ids=(*ids[:cut], *ids_of(llm, OTHER_END, 9)), max_tokens=2))
        cut_back(llm, ids)
        assert llm.n_tokens == cut
        rows.append(Guard(llm).ask(Request(ids=ids, max_tokens=3)).trace.log_partition)
    assert all(np.array_equal(row, rows[0]) for row in rows)
    llm.close()


def test_a_prompt_of_several_batches_that_begins_as_another_one_does() -> None:
    llm = opened(n_batch=64)
    assert_same_whatever_is_shared(llm, 70, [17, 66, 69])  # six tokens in the last batch
    llm.close()


def test_with_flash_attention_whole_batches_alone_are_reused() -> None:
    """Its kernels share out a batch by its size."""
    llm = opened(n_batch=96, flash_attn=True)
    assert_same_whatever_is_shared(llm, 120, [30, 100])
    llm.close()


@pytest.mark.skipif(not is_here("gemma-3-270m"), reason="the model is not here")
@pytest.mark.parametrize(
    ("length", "cuts", "options"),
    [
        (45, [22, 40], {}),
        (64, [32, 59], {}),
        pytest.param(530, [525], {}, marks=pytest.mark.slow),
        (45, [22, 40], {"swa_full": False}),
        pytest.param(600, [300, 595], {"swa_full": False}, marks=pytest.mark.slow),
    ],
)
def test_a_model_with_a_sliding_window(
    length: int, cuts: list[int], options: dict[str, Any]
) -> None:
    """Its window is 512 tokens. A cache of the window alone cannot be cut back at all."""
    path = str(model_path("gemma-3-270m"))
    llm = Llama(path, n_ctx=1024, n_threads=1, n_threads_batch=1, verbose=False, **options)
    assert_same_whatever_is_shared(llm, length, cuts)
    llm.close()


def test_own_calls_in_a_capture_have_the_numbers_of_a_guarded_answer(
    used: Llama, fresh: dict[str, Trace]
) -> None:
    question = QUESTIONS[2]
    ids: Any = load(used)._prompts.encode(Request.chat(question))
    for between in (ids, ids[:20], used.tokenize(OTHER_END.encode())):
        used.create_completion(between, max_tokens=TOKENS, temperature=0)  # seen by nobody
        with capture(used) as traces:
            for _ in range(2):
                used.create_completion(ids, max_tokens=TOKENS, temperature=0)
        for trace in traces:
            assert_same(trace, fresh[question])


def test_what_the_user_evaluated_himself_is_what_is_continued(used: Llama) -> None:
    """As chat handlers do that put images in the place of tokens."""
    ask(used, OTHER)
    first, then = ids_of(used, LONG, 32), ids_of(used, OTHER_END, 4)
    used.reset()
    used.eval(list(first))
    used.input_ids[: len(first)] = 0  # the tokens are not those that were evaluated
    used.eval(list(then))
    prompt = used.input_ids[: used.n_tokens].tolist()
    with capture(used) as traces:
        used.create_completion(prompt, max_tokens=3, temperature=0)

    assert_same(traces[0], Guard(used).ask(Request(ids=first + then, max_tokens=3)).trace)
