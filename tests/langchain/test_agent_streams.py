"""What the streams of an agent carry: nothing before its verdict, and the guard's events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from agent_parts import AGAIN, BAD, CALL, GOOD, MARK, RISKY, RULES, agent, block, model, paid, pay
from chat_llama import chat_llama
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.language_models import FakeListChatModel
from langchain_energy_guard import ChatEnergyGuard
from langchain_energy_guard.middleware import EnergyGuardMiddleware
from langgraph.checkpoint.memory import InMemorySaver

from energy_guard import Policy
from energy_guard.backends import Scripted

pytestmark = pytest.mark.filterwarnings(
    "ignore:The v3 streaming protocol on Pregel is experimental"
)

ASKED: Any = {"messages": [("user", "Who?")]}
THREAD: Any = {"configurable": {"thread_id": "1"}}
MODES = ["messages", "custom", "updates", "values", "debug", "tasks", "checkpoints"]


async def _all(chunks: Any) -> list[Any]:
    return [chunk async for chunk in chunks]


async def _v3(built: Any) -> list[Any]:
    return await _all(await built.astream_events(ASKED, THREAD, version="v3"))


WAYS: dict[str, Callable[[Any], list[Any]]] = {
    "stream": lambda built: list(built.stream(ASKED, THREAD, stream_mode=MODES)),
    "astream": lambda b: asyncio.run(_all(b.astream(ASKED, THREAD, stream_mode=MODES))),
    "v3": lambda built: list(built.stream_events(ASKED, THREAD, version="v3")),
    "async v3": lambda built: asyncio.run(_v3(built)),
}


def said(told: list[Any]) -> str:
    """All text that the messages of a stream carry, in whatever pieces it comes."""
    pieces = []
    for each in told:
        kind, data = each if isinstance(each, tuple) else (each["method"], each["params"]["data"])
        if kind == "messages":
            pieces.append(getattr(data[0], "text", None) or repr(data[0]))
    return "".join(pieces)


def streaming(mode: Any) -> ChatEnergyGuard:
    return ChatEnergyGuard.of(Scripted.saying(BAD, BAD), RULES, streaming_mode=mode)


HELD: dict[str, Callable[[], list[Any]]] = {
    "hold": lambda: [streaming("hold"), EnergyGuardMiddleware()],
    "sentence": lambda: [streaming("sentence"), EnergyGuardMiddleware()],
    "live": lambda: [streaming("live"), EnergyGuardMiddleware()],
    "retried": lambda: [model(BAD, BAD), EnergyGuardMiddleware(AGAIN)],
    "call": lambda: [model(RISKY), EnergyGuardMiddleware()],
    "nobody judges the fallback": lambda: [
        model(BAD),
        EnergyGuardMiddleware(),
        ModelFallbackMiddleware(FakeListChatModel(responses=[MARK])),
    ],
    "withheld fallback": lambda: [
        model(BAD),
        EnergyGuardMiddleware(fallback=streaming("hold")),
    ],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("held", HELD)
def test_no_stream_delivers_what_is_withheld(way: str, held: str) -> None:
    saver = InMemorySaver()
    asked, *middleware = HELD[held]()
    tools = [pay] if held == "call" else []
    told = WAYS[way](agent(asked, *middleware, tools=tools, checkpointer=saver))
    assert said(told) == RULES.abstention_text
    assert MARK not in repr([told, saver.blobs, list(saver.list(None))])


def test_a_guarded_fallback_is_held_as_well_whatever_its_streaming_mode() -> None:
    built = agent(model(BAD), EnergyGuardMiddleware(fallback=streaming("live")))
    told = asyncio.run(_all(built.astream_events(ASKED, version="v2")))
    assert RULES.abstention_text in repr(told)
    assert MARK not in repr(told)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_shown_comes_once(way: str) -> None:
    paid.clear()
    built = agent(
        model(CALL, GOOD), EnergyGuardMiddleware(), tools=[pay], checkpointer=InMemorySaver()
    )
    told = WAYS[way](built)
    assert said(told).count("Paris") == 1
    assert paid == ["Bob"]


def events(told: list[Any]) -> Iterator[tuple[str, Any]]:
    for kind, data in told:
        if kind == "custom":
            yield data["event"].removeprefix("energy_guard_"), data["data"].get("move")


def test_the_custom_stream_tells_of_every_attempt_and_of_the_end() -> None:
    built = agent(model(BAD, BAD), EnergyGuardMiddleware(AGAIN), checkpointer=InMemorySaver())
    told = WAYS["stream"](built)
    assert list(events(told)) == [
        ("decision", "retry"),
        ("decision", "abstain"),
        ("abstained", None),
    ]
    (message,) = [
        data["model"]["messages"][0] for kind, data in told if kind == "updates" and "model" in data
    ]
    assert (block(message)["verdict"], block(message)["attempts"]) == ("abstain", 2)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_event_stream_of_version_3_has_the_guards_events(asynchronous: bool) -> None:
    built = agent(model(BAD, GOOD), EnergyGuardMiddleware(AGAIN), checkpointer=InMemorySaver())

    async def heard() -> list[Any]:
        run = await built.astream_events(ASKED, THREAD, version="v3")
        return await _all(run.extensions["energy_guard"])

    if asynchronous:
        told = asyncio.run(heard())
    else:
        told = list(built.stream_events(ASKED, THREAD, version="v3").extensions["energy_guard"])
    assert [(each["event"], each["data"]["move"]) for each in told] == [
        ("energy_guard_decision", "retry"),
        ("energy_guard_decision", "accept"),
    ]


def test_other_custom_events_are_not_the_guards() -> None:
    def shout(to: str) -> str:
        """Tell somebody."""
        from langgraph.config import get_stream_writer

        get_stream_writer()({"shouted": to})
        return "done"

    says = [('{"name": "shout", "arguments": {"to": "Bob"}}', 0.99)]
    built = agent(model(says, GOOD), EnergyGuardMiddleware(), tools=[shout])
    whole = [each["params"]["data"] for each in built.stream_events(ASKED, version="v3")]
    assert {"shouted": "Bob"} in whole
    built = agent(model(says, GOOD), EnergyGuardMiddleware(), tools=[shout])
    told = built.stream_events(ASKED, version="v3").extensions["energy_guard"]
    assert [each["event"] for each in told] == ["energy_guard_decision"] * 2


@pytest.mark.model
def test_a_model_of_the_users_own_is_heard_by_no_stream_and_tells_of_every_attempt() -> None:
    own = chat_llama(max_tokens=4)
    strict = Policy(detector="nll:max", warn=0.0, abstain=0.0, retries=1)
    try:
        said_once = own.invoke("Who?").content
        for way in ("stream", "v3"):
            built = agent(
                own, EnergyGuardMiddleware(strict, model=own), checkpointer=InMemorySaver()
            )
            told = WAYS[way](built)
            assert said(told) == strict.abstention_text
            assert said_once not in repr(told)
            if way == "stream":
                assert [name for name, _ in events(told)] == [
                    *("decision", "retracted", "retry"),
                    *("decision", "retracted", "abstained"),
                ]
    finally:
        own.client.close()
