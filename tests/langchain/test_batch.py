"""`batch` with an engine that answers in batches: one wave, with LangChain's rules around it."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tracers.base import BaseTracer
from langchain_energy_guard import ChatEnergyGuard, guarded
from langchain_energy_guard.errors import PromptOverflowError

from energy_guard import Guard, Policy
from energy_guard.asynchronous import in_thread_of
from energy_guard.backends import Backend, Scripted
from energy_guard.errors import EngineBusyError, InputError

QUESTIONS = ["who was that?", "why", "who was there, and for how long?", "x"]
LAX = Policy(detector="nll:max", warn=9.0, unscored="show")
ENDS = ["^x", "*_", "eI"]  # what the tiny model writes ends so, after 3 to 17 tokens


def model(backend: Backend, policy: Policy = LAX, **settings: Any) -> ChatEnergyGuard:
    guard = Guard(backend, policy, locator="whole")
    return ChatEnergyGuard(guard=guard, max_tokens=30, stop=ENDS, **settings)


def test_a_batch_is_one_wave_in_order(batching: Backend, batches: list[int]) -> None:
    asked = model(batching)
    together = asked.batch(QUESTIONS)
    assert batches == [4]
    assert [m.content for m in together] == [asked.invoke(q).content for q in QUESTIONS]
    assert all(m.response_metadata["energy_guard"]["verdict"] == "accept" for m in together)


async def test_from_an_event_loop_a_batch_is_one_wave_as_well(
    batching: Backend, batches: list[int]
) -> None:
    asked = model(batching)
    together = await asked.abatch([*QUESTIONS, "why"])
    assert batches == [4, 1]
    assert [m.content for m in together[:4]] == [m.content for m in asked.batch(QUESTIONS)]


async def test_an_error_in_a_batch_of_tasks_is_returned_in_its_place(batching: Backend) -> None:
    asked = model(batching)
    found: list[Any] = await asked.abatch(["why", "long " * 500, "x"], return_exceptions=True)
    assert [found[0].content, found[2].content] == [asked.invoke(q).content for q in ("why", "x")]
    assert isinstance(found[1], PromptOverflowError)


def test_a_long_batch_is_several_waves(batching: Backend, batches: list[int]) -> None:
    assert len(model(batching).batch(QUESTIONS + QUESTIONS[:2])) == 6
    assert batches == [4, 2]


def test_max_concurrency_makes_waves_smaller(batching: Backend, batches: list[int]) -> None:
    model(batching).batch(QUESTIONS, {"max_concurrency": 2})
    assert batches == [2, 2]


def test_a_chain_is_batched_as_well(batching: Backend, batches: list[int]) -> None:
    chain = ChatPromptTemplate.from_template("{q}") | model(batching)
    chain.batch([{"q": question} for question in QUESTIONS])
    assert batches == [4]


def test_an_error_is_returned_in_its_place(batching: Backend) -> None:
    asked = model(batching)
    found: list[Any] = asked.batch(["why", "long " * 500, "x"], return_exceptions=True)
    assert [found[0].content, found[2].content] == [asked.invoke(q).content for q in ("why", "x")]
    assert isinstance(found[1], PromptOverflowError)


def test_an_error_is_raised_unless_it_is_to_be_returned(batching: Backend) -> None:
    with pytest.raises(PromptOverflowError):
        model(batching).batch(["why", "long " * 500, "x"])


def test_what_is_in_the_cache_is_not_asked_again(batching: Backend, batches: list[int]) -> None:
    asked = model(batching, cache=InMemoryCache())
    first = asked.batch(QUESTIONS[:2])
    second = asked.batch(QUESTIONS[:3])
    assert batches == [2, 1]
    assert [m.content for m in second[:2]] == [m.content for m in first]


def test_a_batch_that_is_all_in_the_cache_asks_nothing(
    batching: Backend, batches: list[int]
) -> None:
    asked = model(batching, cache=InMemoryCache())
    asked.batch(QUESTIONS[:2])
    asked.batch(QUESTIONS[:2])
    assert batches == [2]


def test_a_guarded_chain_is_batched_with_its_retries(batching: Backend, batches: list[int]) -> None:
    strict = Policy(detector="nll:max", warn=0.0, abstain=0.0, retries=1)
    chain = guarded(ChatPromptTemplate.from_template("{q}") | model(batching), strict)
    found = chain.batch([{"q": question} for question in QUESTIONS[:3]])
    assert batches == [3, 3]
    judged = [m.response_metadata["energy_guard"] for m in found]
    assert [(each["shown"], each["attempts"]) for each in judged] == [(False, 2)] * 3


def test_branches_of_a_guarded_chain_ask_once_each(batching: Backend, batches: list[int]) -> None:
    asked = model(batching)
    branches: Any = RunnableParallel(one=asked, other=asked)
    waits = ThreadPoolExecutor(1)
    found = waits.submit(guarded(branches).batch, ["why", "x"]).result(timeout=60)
    waits.shutdown()
    told = [{name: said.content for name, said in each.items()} for each in found]
    assert told == [dict.fromkeys(("one", "other"), asked.invoke(q).content) for q in ("why", "x")]
    assert max(batches) == 2


@pytest.mark.parametrize("asks", ["batch", "abatch"])
def test_calls_that_fail_before_they_ask_keep_nobody_waiting(batching: Backend, asks: str) -> None:
    """Several times, as it depends on who comes first."""
    asked = model(batching)

    def chain(question: str) -> Any:
        if question == "bad":
            raise ValueError("a mistake of the chain's own")
        return asked.invoke(question)

    runs: Any = guarded(RunnableLambda(chain))
    questions = ["bad", "q", "q", "bad", "q", "q", "q", "q", "q"]
    for _ in range(4):
        waits = ThreadPoolExecutor(1)
        if asks == "batch":
            running = waits.submit(runs.batch, questions)
        else:
            running = waits.submit(lambda: asyncio.run(runs.abatch(questions)))
        with pytest.raises(ValueError, match="own"):
            running.result(timeout=60)
        waits.shutdown()


class Heard(BaseCallbackHandler):
    """Notes decisions, and which run they are of."""

    def __init__(self) -> None:
        self.moves: dict[Any, list[str]] = {}

    def on_custom_event(self, name: str, data: Any, *, run_id: Any, **_: Any) -> None:
        if name == "energy_guard_decision":
            self.moves.setdefault(run_id, []).append(data["move"])


class Traced(BaseTracer):
    """Keeps the verdict of each run that ended, by its question."""

    def __init__(self) -> None:
        super().__init__()
        self.verdicts: dict[str, Any] = {}

    def _persist_run(self, run: Any) -> None:
        asked = run.inputs["prompts"][0] if "prompts" in run.inputs else str(run.inputs)
        self.verdicts[asked] = run.extra["metadata"]["energy_guard.verdict"]


def test_every_attempt_of_every_run_is_told(batching: Backend, batches: list[int]) -> None:
    strict = Policy(detector="nll:max", warn=0.0, abstain=0.0, retries=1)
    heard = Heard()
    found = model(batching, strict).batch(QUESTIONS[:3], {"callbacks": [heard]})
    assert batches == [3, 3]
    assert list(heard.moves.values()) == [["retry", "abstain"]] * 3
    assert [m.response_metadata["energy_guard"]["attempts"] for m in found] == [2, 2, 2]


def test_every_run_has_its_own_verdict(batching: Backend) -> None:
    traced = Traced()
    found = model(batching).batch(QUESTIONS[:3], {"callbacks": [traced]})
    verdicts = [m.response_metadata["energy_guard"]["verdict"] for m in found]
    assert sorted(traced.verdicts.values()) == sorted(verdicts)
    assert len(traced.verdicts) == 3


def test_each_call_has_its_own_time(batching: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600)
    monkeypatch.setattr("energy_guard.request.time", ahead)  # the engine's clock, no one else's
    found = model(batching, timeout=1800).batch(QUESTIONS[:2])
    reasons = [m.response_metadata["energy_guard"]["finish_reason"] for m in found]
    assert reasons == ["deadline", "deadline"]


@pytest.mark.parametrize("asks", ["batch", "abatch"])
def test_calls_that_are_out_of_time_do_not_wait_for_the_engine(
    batching: Backend, asks: str
) -> None:
    hurried, free = model(batching, timeout=0.3), Event()
    in_use = in_thread_of(batching, lambda: None if free.wait(60) else pytest.fail("no answer"))
    try:
        if asks == "batch":
            found: list[Any] = hurried.batch(["why", "x"], return_exceptions=True)
        else:
            found = asyncio.run(hurried.abatch(["why", "x"], return_exceptions=True))
        assert not in_use.done()
    finally:
        free.set()
    assert [type(each) for each in found] == [EngineBusyError, EngineBusyError]


def test_who_is_streamed_to_is_asked_alone(batching: Backend, batches: list[int]) -> None:
    found = model(batching, streaming=True, streaming_mode="live").batch(QUESTIONS[:2])
    assert batches == [1, 1]
    assert all(m.content for m in found)


def test_an_engine_without_batches_is_asked_one_after_the_other() -> None:
    scripted = Scripted.saying([("a", 0.9)], [("b", 0.9)], [("c", 0.9)])
    found = ChatEnergyGuard.of(scripted, LAX).batch(["1?", "2?", "3?"])
    assert [m.content for m in found] == ["a", "b", "c"]


class Canned(ChatEnergyGuard):
    """Answers a greeting without its model."""

    def invoke(self, input: Any, config: Any = None, **options: Any) -> AIMessage:
        return AIMessage("Hi.") if input == "hi" else super().invoke(input, config, **options)


def test_nobody_waits_for_a_call_that_asks_no_model(batching: Backend, batches: list[int]) -> None:
    asked = Canned(guard=model(batching).guard, max_tokens=30, stop=ENDS)
    waits = ThreadPoolExecutor(1)
    found = waits.submit(asked.batch, ["why", "hi", "x"]).result(timeout=60)
    waits.shutdown()
    assert [m.content for m in found] == [asked.invoke(q).content for q in ("why", "hi", "x")]
    assert batches[0] == 2


class AsksAnother(BaseCallbackHandler):
    """Asks another engine when a question with its word is asked."""

    raise_error = True

    def __init__(self, word: str) -> None:
        self.word = word
        self.other = ChatEnergyGuard.of(Scripted.saying([("other", 0.9)]), LAX)
        self.heard: list[Any] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **_: Any) -> None:
        if messages[0][0].content == self.word:
            self.heard.append(self.other.generate([messages[0]]).generations[0][0].text)


def test_a_call_of_another_engine_inside_is_in_no_wave(
    batching: Backend, batches: list[int]
) -> None:
    asked, asks = model(batching), AsksAnother("why")
    found = asked.batch(["why", "x"], {"callbacks": [asks]})
    assert batches == [2]
    assert asks.heard == ["other"]
    assert [m.content for m in found] == [asked.invoke(q).content for q in ("why", "x")]


def test_no_answer_is_lost_where_nobody_may_be_asked(batching: Backend) -> None:
    with pytest.raises(InputError, match="max_concurrency is -1"):
        model(batching).batch(QUESTIONS, {"max_concurrency": -1})


def test_nothing_to_ask_is_no_batch(batching: Backend) -> None:
    assert model(batching).batch([]) == []
