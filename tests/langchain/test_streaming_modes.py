"""A sentence behind, signs of life of what is held, and events in LangGraph's `custom` stream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableLambda
from langchain_energy_guard import AnswerWithheldError, ChatEnergyGuard, answer_stream, guarded
from langgraph.graph import START, MessagesState, StateGraph

from energy_guard import Policy
from energy_guard.backends import Scripted

RULES = Policy(detector="nll:max", warn=1.0, abstain=2.0)
FIRST = [("It", 0.9), (" is", 0.9), (" Paris", 0.9), (".", 0.9)]
SURE = [*FIRST, (" It", 0.9), (" lies", 0.9), (" there", 0.9), (".", 0.9), (" So", 0.9), ("!", 0.9)]
UNSURE = [*FIRST, (" The", 0.9), (" mayor", 0.9), (" is", 0.9), (" Qzplk", 0.01), (".", 0.9)]


class Heard(BaseCallbackHandler):
    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
        self.events.append((name.removeprefix("energy_guard_"), data))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]


def model(*answers: Any, **settings: Any) -> ChatEnergyGuard:
    return ChatEnergyGuard.of(Scripted.saying(*answers), RULES, **settings)


async def _astreamed(asked: Any, config: Any) -> list[Any]:
    return [chunk async for chunk in asked.astream("?", config)]


@pytest.fixture(params=["stream", "astream"])
def streamed(request: pytest.FixtureRequest) -> Any:
    def stream(asked: Any, config: Any = None) -> list[Any]:
        if request.param == "astream":
            return asyncio.run(_astreamed(asked, config))
        return list(asked.stream("?", config))

    return stream


def test_a_sentence_comes_when_the_next_one_has_begun(streamed: Any) -> None:
    chunks = streamed(model(SURE, streaming_mode="sentence"))
    whole = model(SURE).invoke("?")
    texts = [chunk.content for chunk in chunks]
    assert "".join(texts) == whole.content
    assert len([text for text in texts if text]) > 1
    assert chunks[-1].response_metadata["energy_guard"]["verdict"] == "accept"


def test_no_word_of_a_sentence_that_would_be_withheld_comes(streamed: Any) -> None:
    heard = Heard()
    chunks = streamed(model(UNSURE, streaming_mode="sentence"), {"callbacks": [heard]})
    written = "".join(chunk.content for chunk in chunks[:-1])
    assert written == "It is Paris."
    assert chunks[-1].content == f"\n\n{RULES.abstention_text}"
    assert heard.names == ["retracted", "decision"]
    assert heard.events[0][1]["characters"] == len(written)


def test_what_must_not_be_streamed_is_held_in_every_mode(streamed: Any) -> None:
    for asked in (
        guarded(model(SURE, streaming_mode="sentence"), RULES),
        model(SURE, streaming_mode="sentence").bind(
            tools=[{"type": "function", "function": {"name": "pay"}}]
        ),
    ):
        assert len([chunk for chunk in streamed(asked) if chunk.content]) == 1


def test_a_held_answer_gives_signs_of_life(streamed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_stream, "PROGRESS_S", 0.0)
    rules = RULES.model_copy(update={"retries": 1})
    script = Scripted.saying(UNSURE, SURE)
    heard = Heard()
    chunks = streamed(ChatEnergyGuard.of(script, rules), {"callbacks": [heard]})
    assert [chunk.content for chunk in chunks if chunk.content] == [
        "It is Paris. It lies there. So!"
    ]
    progress = [data for name, data in heard.events if name == "progress"]
    assert [(data["attempt"], data["tokens"]) for data in progress] == [
        *((1, n + 1) for n in range(len(UNSURE))),
        *((2, n + 1) for n in range(len(SURE))),
    ]
    assert "Qzplk" not in repr(heard.events)
    assert [name for name in heard.names if name != "progress"] == ["decision", "decision"]


def test_signs_of_life_are_seldom(streamed: Any) -> None:
    heard = Heard()
    streamed(model(SURE), {"callbacks": [heard]})
    assert heard.names == ["decision"]


def graph(node: Any) -> Any:
    built = StateGraph(MessagesState)
    built.add_node("chat", node)
    built.add_edge(START, "chat")
    return built.compile()


def custom(node: Any) -> list[tuple[str, Any]]:
    asked = {"messages": [("user", "Who?")]}
    told = list(graph(node).stream(asked, stream_mode="custom"))
    return [(event["event"].removeprefix("energy_guard_"), event["data"]) for event in told]


@pytest.mark.parametrize("mode", ["hold", "live"])
def test_a_graphs_custom_stream_has_the_decision_and_the_retraction(mode: Any) -> None:
    asked = model(UNSURE, streaming_mode=mode, streaming=True)
    events = custom(lambda state: {"messages": [asked.invoke(state["messages"])]})
    decided = [data for name, data in events if name == "decision"]
    assert [(data["move"], data["shown"]) for data in decided] == [("abstain", False)]
    withdrawn = [data["characters"] for name, data in events if name == "retracted"]
    assert bool(withdrawn) == (mode == "live")
    assert "Qzplk" not in repr(events)


def test_no_event_quotes_an_answer_that_is_shown() -> None:
    """What takes addresses out of messages does not know of events."""
    asked = model([("Write to ", 0.9), ("bob@example.com", 0.9)])
    [(name, data)] = custom(lambda state: {"messages": [asked.invoke(state["messages"])]})
    assert (name, data["move"], data["span"].keys()) == ("decision", "accept", {"start", "end"})
    assert "bob" not in repr(data)


def test_so_it_is_in_an_event_loop() -> None:
    asked = model(UNSURE)

    async def chat(state: Any) -> Any:
        return {"messages": [await asked.ainvoke(state["messages"])]}

    async def told() -> list[Any]:
        stream = graph(chat).astream({"messages": [("user", "Who?")]}, stream_mode="custom")
        return [event async for event in stream]

    [decision] = asyncio.run(told())
    assert (decision["event"], decision["data"]["move"]) == ("energy_guard_decision", "abstain")


def test_what_guarded_does_is_in_the_graphs_custom_stream() -> None:
    rules = RULES.model_copy(update={"retries": 1})
    asked = guarded(model(UNSURE, SURE), rules, more=lambda given, _: given)
    events = custom(lambda state: {"messages": [asked.invoke(state["messages"])]})
    assert [name for name, _ in events] == ["decision", "retry", "decision"]


def test_outside_a_graph_nothing_is_written_there() -> None:
    heard = Heard()
    chain = RunnableLambda(lambda asked: asked) | guarded(model(UNSURE), RULES)
    assert chain.invoke("?", {"callbacks": [heard]}).content == RULES.abstention_text
    assert heard.names == ["decision", "abstained"]
    with pytest.raises(AnswerWithheldError):
        model(UNSURE).with_structured_output({"title": "x", "type": "object"}).invoke("?")
