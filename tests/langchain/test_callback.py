from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from chat_llama import chat_llama
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from langchain_energy_guard.callback import (
    AsyncEnergyGuardCallbackHandler,
    EnergyGuardCallbackHandler,
)
from langchain_energy_guard.errors import AnswerRetryError, AnswerWithheldError
from opentelemetry import trace
from spans import events_of, listening

from energy_guard import Guard, Policy
from energy_guard.errors import ConfigError, EngineBusyError, InputError, MismatchError
from energy_guard.policy import EarlyStop

pytestmark = pytest.mark.model

SHOWS = Policy(detector="nll:max", warn=50.0, abstain=99.0)
WARNS = Policy(detector="nll:max", warn=0.0, abstain=99.0)
WITHHOLDS = Policy(detector="nll:max", warn=0.0, abstain=0.0)
RETRIES = Policy(detector="nll:max", warn=0.0, abstain=0.0, retries=1)
SKY = {"question": "What colour is the sky? Answer in one word."}
EVENTS = ["energy_guard_decision", "energy_guard_retracted"]


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    chat = chat_llama()
    yield chat
    chat.client.close()


@pytest.fixture
def chain(model: Any) -> Iterator[Runnable[Any, AIMessage]]:
    """A chain that keeps its own model, which is found as it was."""
    before = set(vars(model.client))
    yield ChatPromptTemplate.from_template("{question}") | model
    assert set(vars(model.client)) == before
    assert Guard(model.client, WITHHOLDS).ask("Hello?", max_tokens=2).verdict  # nobody holds it


def watched(handler: BaseCallbackHandler) -> Any:
    return {"callbacks": [handler]}


class Heard(BaseCallbackHandler):
    """Notes custom events and how runs end."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.errors: list[BaseException] = []

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        self.events.append((name, data))

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.errors.append(error)


def test_the_verdict_stands_in_the_message(chain: Any, model: Any) -> None:
    plain = chain.invoke(SKY)
    answer = chain.invoke(SKY, watched(EnergyGuardCallbackHandler(model, SHOWS)))
    found = answer.response_metadata["energy_guard"]
    assert answer.content == plain.content  # being watched changes nothing
    assert found["verdict"] == "accept"
    assert found["reason"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_verdict_is_an_evaluation_on_the_callers_span(chain: Any, model: Any) -> None:
    spans = listening()
    with trace.get_tracer("test").start_as_current_span("another instrumentation's"):
        chain.invoke(SKY, watched(EnergyGuardCallbackHandler(model, SHOWS)))
    [span] = spans.get_finished_spans()
    [(name, evaluation)] = events_of(span)
    assert name == "gen_ai.evaluation.result"
    assert evaluation["gen_ai.evaluation.score.label"] == "accept"


def test_the_numbers_are_those_of_a_guard(chain: Any, model: Any) -> None:
    """The same greedy answer, judged by the handler and by a Guard's replay of its tokens."""
    handler = EnergyGuardCallbackHandler(model, WITHHOLDS)
    with pytest.raises(AnswerWithheldError) as caught:
        chain.invoke(SKY, watched(handler))
    trace = caught.value.result.trace
    guard = Guard(model.client, WITHHOLDS, profile=None)
    replayed = guard.score(SKY["question"], trace.ids.tolist())
    assert replayed.trace.nll == pytest.approx(trace.nll, abs=1e-4)
    assert replayed.score == pytest.approx(caught.value.result.score, abs=1e-4)
    assert replayed.span == caught.value.result.span


def test_a_withheld_answer_ends_the_chain(chain: Any, model: Any) -> None:
    said = chain.invoke(SKY).content
    with pytest.raises(AnswerWithheldError, match="at or above the limit of 0") as caught:
        chain.invoke(SKY, watched(EnergyGuardCallbackHandler(model, WITHHOLDS)))
    assert caught.value.partial == said
    assert caught.value.result.verdict == "abstain"
    assert not isinstance(caught.value, AnswerRetryError)
    assert not caught.value.structured


def test_a_retry_is_demanded_as_data(chain: Any, model: Any) -> None:
    with pytest.raises(AnswerRetryError) as caught:
        chain.invoke(SKY, watched(EnergyGuardCallbackHandler(model, RETRIES)))
    assert caught.value.changes.temperature == RETRIES.retry_temperature
    assert "guarded" in caught.value.hint


def test_a_warning_is_logged_and_alters_nothing(
    chain: Any, model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "langchain_energy_guard"):
        answer = chain.invoke(SKY, watched(EnergyGuardCallbackHandler(model, WARNS)))
    assert answer.response_metadata["energy_guard"]["verdict"] == "warn"
    assert WARNS.warning_text in caplog.text
    assert answer.content == chain.invoke(SKY).content


def test_every_decision_is_an_event(chain: Any, model: Any) -> None:
    heard = Heard()
    chain.invoke(SKY, {"callbacks": [EnergyGuardCallbackHandler(model, SHOWS), heard]})
    with pytest.raises(AnswerWithheldError):
        chain.invoke(SKY, {"callbacks": [EnergyGuardCallbackHandler(model, WITHHOLDS), heard]})
    assert [name for name, _ in heard.events] == [EVENTS[0], *EVENTS]
    shown, withheld, retracted = [data for _, data in heard.events]
    assert (shown["move"], shown["shown"]) == ("accept", True)
    assert (withheld["move"], withheld["shown"]) == ("abstain", False)
    assert shown["span"].keys() == withheld["span"].keys() == {"start", "end"}
    assert (shown["p_wrong_from"], shown["calibrated"]) == (None, False)
    assert withheld["reason"].startswith("nll:max of ")
    assert "“" not in shown["reason"] + withheld["reason"]
    assert retracted["characters"] > 0
    assert "text" not in retracted
    assert withheld["run_id"] == retracted["run_id"] != shown["run_id"]
    json.dumps(heard.events, allow_nan=False)


def test_a_bare_model_has_no_run_for_events(chain: Any, model: Any) -> None:
    heard = Heard()
    callbacks = [EnergyGuardCallbackHandler(model, SHOWS), heard]
    answer = model.invoke(SKY["question"], {"callbacks": callbacks})
    assert answer.response_metadata["energy_guard"]["verdict"] == "accept"
    assert heard.events == []


def test_events_show_in_astream_events(chain: Any, model: Any) -> None:
    handler = AsyncEnergyGuardCallbackHandler(model, SHOWS)

    async def names() -> list[str]:
        stream = chain.astream_events(SKY, watched(handler), version="v2")
        return [e["name"] async for e in stream if e["event"] == "on_custom_event"]

    assert asyncio.run(names()) == EVENTS[:1]


def test_the_last_chunk_has_the_verdict(chain: Any, model: Any) -> None:
    chunks = list(chain.stream(SKY, watched(EnergyGuardCallbackHandler(model, SHOWS))))
    having = ["energy_guard" in chunk.response_metadata for chunk in chunks]
    assert having == [False] * (len(chunks) - 1) + [True]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    told = chain.invoke(SKY, watched(EnergyGuardCallbackHandler(model, SHOWS)))
    assert whole.content == told.content
    assert whole.response_metadata["energy_guard"]["verdict"] == "accept"


def test_a_withheld_stream_ends_with_the_error(chain: Any, model: Any) -> None:
    heard = Heard()
    text = ""
    with pytest.raises(AnswerWithheldError) as caught:
        for chunk in chain.stream(
            SKY, {"callbacks": [EnergyGuardCallbackHandler(model, WITHHOLDS), heard]}
        ):
            text += chunk.content
    assert caught.value.partial == text
    assert heard.errors == [caught.value]  # tracers see a failed run


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_running_rule_stops_the_engine(chain: Any, model: Any, way: str) -> None:
    rule = Policy(detector="nll:max", early_stop=EarlyStop(window=3, risk=-1.0))
    handler = EnergyGuardCallbackHandler(model, rule)
    with pytest.raises(AnswerWithheldError, match="stopped early") as caught:
        list(getattr(chain, way)(SKY, watched(handler)))
    attempt = caught.value.result.attempts[-1]
    assert attempt.trace.finish_reason == "stopped"
    assert len(attempt.trace) == 4  # the third token's row comes with the fourth
    assert attempt.tokens_saved == 16 - 4


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_the_deadline_ends_an_answer(chain: Any, model: Any, way: str) -> None:
    rules = SHOWS.model_copy(update={"deadline_s": 0.5, "retries": 2})
    asked = model.bind(max_tokens=400).with_config(
        watched(EnergyGuardCallbackHandler(model, rules))
    )
    began = time.monotonic()
    with pytest.raises(AnswerWithheldError, match="deadline") as caught:
        list(getattr(asked, way)("Write a long story about a cat."))
    assert time.monotonic() - began < 4.0  # 400 tokens take about five seconds
    assert 0 < len(caught.value.result.trace) < 400
    assert not isinstance(caught.value, AnswerRetryError)


def test_a_handler_that_could_not_abort_is_refused(model: Any) -> None:
    with pytest.raises(ConfigError, match="LangChain swallows"):
        EnergyGuardCallbackHandler(model, SHOWS, raise_error=False)
    with pytest.raises(ConfigError, match="LangChain swallows"):
        AsyncEnergyGuardCallbackHandler(model, WITHHOLDS, raise_error=False)
    only_warns = Policy(detector="nll:max", warn=0.0, unscored="show")
    EnergyGuardCallbackHandler(model, only_warns, raise_error=False)


def test_rules_of_another_model_are_refused(model: Any) -> None:
    with pytest.raises(MismatchError, match="belongs to the model"):
        EnergyGuardCallbackHandler(model, Policy(detector="nll:max", warn=1.0, model="00ff"))


@pytest.mark.parametrize("in_loop", [False, True])
def test_an_async_handler_refuses_a_sync_run(chain: Any, model: Any, in_loop: bool) -> None:
    """LangChain swallows what it raises there, so the answer must not come through either."""
    handler = AsyncEnergyGuardCallbackHandler(model, WITHHOLDS)

    async def notebook() -> None:
        chain.invoke(SKY, watched(handler))

    with pytest.raises(ConfigError, match="cannot stop a synchronous run"):
        if in_loop:
            asyncio.run(notebook())
        else:
            chain.invoke(SKY, watched(handler))


def test_a_sync_handler_works_in_a_lone_async_run(chain: Any, model: Any) -> None:
    handler = EnergyGuardCallbackHandler(model, WITHHOLDS)
    with pytest.raises(AnswerWithheldError):
        asyncio.run(chain.ainvoke(SKY, watched(handler)))


def test_concurrent_runs_are_queued_and_not_mixed(chain: Any, model: Any) -> None:
    """More at once than the executor has threads; some of the answers are cut off."""
    rules = SHOWS.model_copy(update={"unscored": "show"})
    handler = AsyncEnergyGuardCallbackHandler(model, rules, details="full")
    asked = [{"question": f"Say the number {n}."} for n in range(12)]

    async def all_of_them() -> list[Any]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(4))
        return await asyncio.gather(*(chain.ainvoke(q, watched(handler)) for q in asked))

    answers = asyncio.run(all_of_them())
    own = [a.response_metadata["energy_guard"]["answer"] for a in answers]
    assert own == [a.content for a in answers]
    assert len(set(own)) > 4


def test_threads_are_queued_and_not_mixed(chain: Any, model: Any) -> None:
    rules = SHOWS.model_copy(update={"unscored": "show"})
    handler = EnergyGuardCallbackHandler(model, rules, details="full")
    asked = [{"question": f"Say the number {n}."} for n in range(8)]
    answers = chain.batch(asked, watched(handler))
    own = [a.response_metadata["energy_guard"]["answer"] for a in answers]
    assert own == [a.content for a in answers]


def test_two_handlers_share_an_engine(chain: Any, model: Any) -> None:
    strict = AsyncEnergyGuardCallbackHandler(model, WITHHOLDS)
    lax = AsyncEnergyGuardCallbackHandler(model.client, SHOWS)

    async def both() -> list[Any]:
        runs = [chain.ainvoke(SKY, watched(handler)) for handler in (strict, lax, strict, lax)]
        return await asyncio.gather(*runs, return_exceptions=True)

    kinds = [type(outcome) for outcome in asyncio.run(both())]
    assert kinds == [AnswerWithheldError, AIMessage] * 2


def test_two_handlers_on_one_run_are_refused(chain: Any, model: Any) -> None:
    twice = [EnergyGuardCallbackHandler(model, SHOWS), EnergyGuardCallbackHandler(model, SHOWS)]
    with pytest.raises(ConfigError, match="two handlers"):
        chain.invoke(SKY, {"callbacks": twice})
    chain.invoke(SKY, watched(twice[0]))


def test_an_open_stream_is_named(chain: Any, model: Any) -> None:
    handler = EnergyGuardCallbackHandler(model, SHOWS)
    stream = chain.stream(SKY, watched(handler))
    next(stream)
    with pytest.raises(EngineBusyError, match="still open"):
        chain.invoke(SKY, watched(handler))
    stream.close()
    chain.invoke(SKY, watched(handler))


@pytest.mark.parametrize(
    ("asynchronous", "deadline_s", "wait_s"),
    [(False, None, 0.1), (True, None, 0.1), (True, 0.1, 300.0)],
)
def test_an_answer_that_nobody_heard_says_so(
    chain: Any, model: Any, asynchronous: bool, deadline_s: float | None, wait_s: float
) -> None:
    """Without raise_error LangChain swallows that the engine was in use."""
    only_warns = Policy(detector="nll:max", warn=0.0, unscored="show", deadline_s=deadline_s)
    heard = Heard()
    kind = AsyncEnergyGuardCallbackHandler if asynchronous else EnergyGuardCallbackHandler
    handler = kind(model, only_warns, raise_error=False, wait_s=wait_s, details="full")
    config = {"callbacks": [handler, heard]}
    stream = chain.stream(SKY, watched(EnergyGuardCallbackHandler(model, SHOWS)))
    next(stream)
    answer = asyncio.run(chain.ainvoke(SKY, config)) if asynchronous else chain.invoke(SKY, config)
    found = answer.response_metadata["energy_guard"]
    assert (found["verdict"], found["shown"], found["tokens"]) == ("unscored", True, {})
    assert "in use" in found["reason"] or "still open" in found["reason"]
    assert [name for name, _ in heard.events] == EVENTS[:1]
    stream.close()
    again = chain.invoke(SKY, watched(EnergyGuardCallbackHandler(model, SHOWS)))
    assert again.response_metadata["energy_guard"]["verdict"] == "accept"


def test_a_failing_run_gives_the_engine_back(chain: Any, model: Any) -> None:
    handler = EnergyGuardCallbackHandler(model, SHOWS)
    with pytest.raises(ValueError, match="context window"):
        chain.invoke({"question": "word " * 2000}, watched(handler))
    assert chain.invoke(SKY, watched(handler)).content


def test_a_run_that_another_handler_broke_gives_the_engine_back(chain: Any, model: Any) -> None:
    class Breaks(BaseCallbackHandler):
        raise_error = True

        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("broken")

    handler = EnergyGuardCallbackHandler(model, SHOWS)
    with pytest.raises(RuntimeError, match="broken"):
        chain.invoke(SKY, {"callbacks": [handler, Breaks()]})
    assert chain.invoke(SKY, watched(handler)).content


@pytest.mark.parametrize("streaming", [False, True])
def test_a_cancelled_run_stops_the_engine(chain: Any, model: Any, streaming: bool) -> None:
    handler = AsyncEnergyGuardCallbackHandler(model, SHOWS)

    async def cancel() -> float:
        asked = model.bind(max_tokens=800).with_config(**watched(handler))
        task = asyncio.ensure_future(_consume(asked, streaming))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        began = asyncio.get_running_loop().time()
        await chain.ainvoke(SKY, watched(handler))
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(cancel()) < 5.0  # 800 tokens take about ten seconds


async def _consume(asked: Any, streaming: bool) -> None:
    question = "Write a very long story about a dragon, in ten chapters."
    if streaming:
        async for _ in asked.astream(question):
            pass
    else:
        await asked.ainvoke(question)


def test_a_cached_answer_was_not_measured(chain: Any, model: Any) -> None:
    """Nothing is generated for it, so nothing is known of its risk."""
    model.cache = InMemoryCache()
    try:
        chain.invoke(SKY)
        with pytest.raises(AnswerWithheldError, match="nothing was generated"):
            chain.invoke(SKY, watched(EnergyGuardCallbackHandler(model, SHOWS)))
    finally:
        model.cache = None


def test_a_withheld_answer_is_not_shown_from_the_cache(chain: Any, model: Any) -> None:
    """LangChain keeps it; showing what is unscored is not meant for that."""
    hides = WITHHOLDS.model_copy(update={"unscored": "show"})
    warns = Policy(detector="nll:max", warn=0.0, unscored="show")
    model.cache = InMemoryCache()
    try:
        for _ in range(2):
            with pytest.raises(AnswerWithheldError):
                chain.invoke(SKY, watched(EnergyGuardCallbackHandler(model, hides)))
        shown = chain.invoke(SKY, watched(EnergyGuardCallbackHandler(model, warns)))
    finally:
        model.cache = None
    assert shown.response_metadata["energy_guard"]["verdict"] == "unscored"


def test_several_prompts_in_one_call_are_refused(chain: Any, model: Any) -> None:
    handler = EnergyGuardCallbackHandler(model, SHOWS)
    with pytest.raises(InputError, match="cannot be told apart"):
        model.generate([[HumanMessage("Hello")], [HumanMessage("Goodbye")]], callbacks=[handler])


def test_a_forced_tool_call_is_said_to_be_one(chain: Any, model: Any) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    forced = {"type": "function", "function": {"name": "weather"}}
    asked = model.bind(tools=[tool], tool_choice=forced)
    handler = EnergyGuardCallbackHandler(model, WITHHOLDS)
    with pytest.raises(AnswerWithheldError) as caught:
        asked.invoke("What is the weather in Paris?", watched(handler))
    assert caught.value.structured


def test_runs_of_another_model_are_left_alone(chain: Any, model: Any) -> None:
    handler = EnergyGuardCallbackHandler(model, WITHHOLDS)
    other = FakeListChatModel(responses=["as it is"])
    assert other.invoke("?", watched(handler)).content == "as it is"


def test_a_hosted_model_is_refused() -> None:
    with pytest.raises(InputError):
        EnergyGuardCallbackHandler(object(), SHOWS)


def test_the_import_is_light() -> None:
    code = "import langchain_energy_guard.guarded, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    roots = {name.split(".")[0] for name in done.stdout.split()}
    assert "langchain_core" in roots
    assert roots & {"torch", "transformers", "llama_cpp", "langchain_community"} == set()


def test_no_thread_is_left(chain: Any, model: Any) -> None:
    before = threading.active_count()
    chain.invoke(SKY, watched(EnergyGuardCallbackHandler(model, SHOWS)))
    assert threading.active_count() == before


def test_the_models_own_profile_is_found(chain: Any, model: Any) -> None:
    handler = EnergyGuardCallbackHandler(model)
    judged = Guard(model.client)
    assert handler.watched.judge.policy == judged.policy
    assert judged.policy.on == "p_wrong"
    question = {"question": "Is water wet? Answer yes or no."}
    try:
        found = chain.invoke(question, watched(handler)).response_metadata["energy_guard"]
        p_wrong = found["p_wrong"]
    except AnswerWithheldError as withheld:
        p_wrong = withheld.result.p_wrong
    assert 0 < p_wrong < 1


def test_it_is_a_refusal_where_langchain_has_them() -> None:
    """langchain-core has ModelRefusalError from 1.7.5; here it is put in its place."""
    code = """
from langchain_core import exceptions
class ModelRefusalError(exceptions.LangChainException):
    def __init__(self, message="refused", *, raw_message=None):
        super().__init__(message)
        self.raw_message = raw_message
exceptions.ModelRefusalError = ModelRefusalError
from energy_guard import Guard, Policy
from energy_guard.backends import Scripted
from langchain_energy_guard.errors import AnswerWithheldError
guard = Guard(Scripted.saying([("Par", 0.9)]), Policy(detector="nll:max", warn=0.0, abstain=0.0))
error = AnswerWithheldError(guard.ask("Which city?"))
assert isinstance(error, ModelRefusalError) and error.raw_message is None
print(error.partial, error.message)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Par the answer is withheld: nll:max of the exact answer is 0.11")
