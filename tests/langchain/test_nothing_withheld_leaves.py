"""A word that is planted in withheld answers is in nothing that leaves: everything is searched."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.messages import message_to_dict
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from langchain_energy_guard import AnswerWithheldError, ChatEnergyGuard, guarded
from langchain_energy_guard.middleware import EnergyGuardMiddleware
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from spans import listening

from energy_guard import Policy
from energy_guard.backends import Scripted

MARK = "Qzplk"
SAID = [("It", 0.9), (" was", 0.9), (f" {MARK}", 0.01), (".", 0.9), (" Yes.", 0.9)]
CALL = [('{"name": "pay", "arguments": {"to": "', 0.9), (MARK, 0.01), ('"}}', 0.9)]
RULES = Policy(detector="nll:max", warn=1.0, abstain=2.0)
RETRYING = RULES.model_copy(update={"retries": 1, "retry": ("feedback",)})
SCHEMA = {"title": "payee", "type": "object", "properties": {"to": {"type": "string"}}}


def pay(to: str) -> str:
    """Pay somebody."""
    return f"paid {to}"


class Traced(BaseTracer):
    """Keeps every run with all that LangChain has told of it, and every event."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []

    def _persist_run(self, run: Run) -> None:
        self.kept.append(run.model_dump_json())

    def on_custom_event(self, name: str, data: Any, **_: Any) -> None:  # type: ignore[override]
        self.kept.append((name, data))

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> Any:
        self.kept.append((token, kwargs.get("chunk")))
        return super().on_llm_new_token(token, **kwargs)


def model(*answers: Any, policy: Policy = RULES, **settings: Any) -> ChatEnergyGuard:
    return ChatEnergyGuard.of(Scripted.saying(*answers or [SAID] * 4), policy, **settings)


async def _all(chunks: Any) -> list[Any]:
    return [chunk async for chunk in chunks]


def _error(call: Callable[[], Any]) -> list[Any]:
    """What an application shows and logs of an answer that no text can stand for."""
    with pytest.raises(AnswerWithheldError) as caught:
        call()
    error = caught.value
    return [str(error), repr(error), error.hint, *traceback.format_exception(error)]


def graph_of(asked: ChatEnergyGuard, saver: InMemorySaver) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("chat", lambda state: {"messages": [asked.invoke(state["messages"])]})
    graph.add_edge(START, "chat")
    return graph.compile(checkpointer=saver)


def in_graph(
    config: Any, agent: Callable[[ChatEnergyGuard, InMemorySaver], Any], *answers: Any
) -> list[Any]:
    saver = InMemorySaver()
    config = config | {"configurable": {"thread_id": "1"}}
    modes = ["messages", "custom", "updates", "values", "debug", "tasks", "checkpoints"]
    app, asked = agent(model(*answers), saver), {"messages": [("user", "Who?")]}
    told = list(app.stream(asked, config, stream_mode=modes))
    told += asyncio.run(_all(app.astream(asked, config, stream_mode=modes)))
    return [told, list(saver.list(None)), dict(saver.blobs), app.get_state(config)]


def guarded_agent(asked: ChatEnergyGuard, saver: InMemorySaver) -> Any:
    return create_agent(asked, [pay], middleware=[EnergyGuardMiddleware()], checkpointer=saver)


PROMPT = ChatPromptTemplate.from_template("{q}")
ASKED = {"q": "Who?"}
WAYS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda c: model().invoke("Who?", c),
    "ainvoke": lambda c: asyncio.run(model().ainvoke("Who?", c)),
    "batch": lambda c: model().batch(["Who?", "Who?"], c),
    "stream": lambda c: list(model().stream("Who?", c)),
    "astream": lambda c: asyncio.run(_all(model().astream("Who?", c))),
    "streaming inside": lambda c: model(streaming=True).invoke("Who?", c),
    "events": lambda c: asyncio.run(_all(model().astream_events("Who?", c, version="v2"))),
    "events v3": lambda c: list(model().stream_events("Who?", c, version="v3")),
    "retries": lambda c: list(model(policy=RETRYING).stream("Who?", c)),
    "refusal": lambda c: model(refusal_block=True).invoke("Who?", c).content_blocks,
    "chain": lambda c: list((PROMPT | model() | StrOutputParser()).stream(ASKED, c)),
    "guarded": lambda c: guarded(PROMPT | model(), RULES).invoke(ASKED, c),
    "guarded retry": lambda c: list(
        guarded(PROMPT | model(), RETRYING, more=lambda asked, _: asked).stream(ASKED, c)
    ),
    "guarded events": lambda c: asyncio.run(
        _all(guarded(PROMPT | model(), RETRYING).astream_events(ASKED, c, version="v2"))
    ),
    "fallback": lambda c: guarded(model(), RULES, fallback=model([("Paris", 0.9)])).invoke("?", c),
    "structured": lambda c: _error(
        lambda: model(CALL).with_structured_output(SCHEMA).invoke("Who?", c)
    ),
    "forced call": lambda c: _error(
        lambda: model(CALL).bind_tools([pay], tool_choice="any").invoke("Who?", c)
    ),
    "free call": lambda c: _error(lambda: model(CALL).bind_tools([pay]).invoke("Who?", c)),
    "call in a stream": lambda c: _error(
        lambda: list(model(CALL).bind_tools([pay]).stream("Who?", c))
    ),
    "graph": lambda c: in_graph(c, graph_of),
    "agent": lambda c: in_graph(c, lambda asked, saver: create_agent(asked, checkpointer=saver)),
    "agent with middleware": lambda c: in_graph(c, guarded_agent),
    "agent's call with middleware": lambda c: in_graph(c, guarded_agent, CALL, CALL),
    "cache": lambda c: _cached(c),
}


def _cached(config: Any) -> list[Any]:
    cache = InMemoryCache()
    asked = model(cache=cache)
    return [asked.invoke("Who?", config), asked.invoke("Who?", config), cache._cache]


def texts_of(thing: Any) -> Iterator[str]:
    """Every form in which an application stores or sends a thing."""
    yield repr(thing)
    if isinstance(thing, list | tuple):
        for item in thing:
            yield from texts_of(item)
    elif isinstance(thing, dict):
        yield from texts_of(list(thing.values()))
    elif hasattr(thing, "response_metadata"):
        yield json.dumps(message_to_dict(thing))
        yield repr(thing.content_blocks)
        yield repr(pickle.dumps(thing))


@pytest.mark.parametrize("way", WAYS)
def test_no_withheld_word_leaves(way: str, caplog: pytest.LogCaptureFixture) -> None:
    traced, spans = Traced(), listening()
    with caplog.at_level(logging.DEBUG):
        left = WAYS[way]({"callbacks": [traced], "metadata": {"by": "a test"}})
    told = [span.to_json() for span in spans.get_finished_spans()]
    assert left
    assert traced.kept
    assert told
    for text in texts_of([left, traced.kept, told, caplog.text]):
        assert MARK not in text


def test_the_search_finds_the_word_where_it_is_asked_for() -> None:
    said = model(details="full").invoke("Who?")
    assert any(MARK in text for text in texts_of([{"said": [said]}]))
    live = list(model(streaming_mode="live").stream("Who?"))
    assert any(MARK in text for text in texts_of(live))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_of_a_live_stream_the_chunks_alone_have_the_word(
    asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asks for `live` gets words that are withdrawn; nothing else repeats them."""
    events: list[Any] = []

    class Heard(Traced):
        def on_llm_new_token(self, token: Any, **kwargs: Any) -> Any:
            return None

        def _persist_run(self, run: Run) -> None:
            """LangChain adds a live stream up for its tracers: docs/langchain.md says so."""

    heard, asked = Heard(), model(streaming_mode="live")
    config: Any = {"callbacks": [heard]}
    with caplog.at_level(logging.DEBUG):
        if asynchronous:
            chunks = asyncio.run(_all(asked.astream("Who?", config)))
        else:
            chunks = list(asked.stream("Who?", config))
    events = heard.kept
    assert [name for name, _ in events] == ["energy_guard_retracted", "energy_guard_decision"]
    for text in texts_of([chunks[-1], events, caplog.text]):
        assert MARK not in text
    written = "".join(str(chunk.content) for chunk in chunks[:-1])
    assert events[0][1]["characters"] == len(written)
