"""The example of a chat server: what is sent, what is remembered, and no word that is withheld."""

from __future__ import annotations

import importlib.util
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_energy_guard import ChatEnergyGuard
from langgraph.checkpoint.memory import InMemorySaver

from energy_guard import Policy
from energy_guard.backends import Scripted

MARK = "Qzplk"
RULES = Policy(detector="nll:max", warn=1.0, abstain=2.0)
PATH = Path(__file__).parents[2] / "examples" / "langchain_server" / "server.py"
SURE = [("It", 0.9), (" was", 0.9), (" Ann", 0.9), (".", 0.9), (" She", 0.9), (" won", 0.9)]
UNSURE = [*SURE[:4], (" Then", 0.9), (f" {MARK}", 0.01), (".", 0.9), (" Yes", 0.9), (".", 0.9)]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("example_server", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "example_server", module)  # pydantic looks types up there
    spec.loader.exec_module(module)
    return module


def client_of(example: Any, saver: InMemorySaver, *says: Any) -> httpx.AsyncClient:
    model = ChatEnergyGuard.of(Scripted.saying(*says), RULES, streaming_mode="sentence")
    transport = httpx.ASGITransport(example.app_of(model, saver))
    return httpx.AsyncClient(transport=transport, base_url="http://chat")


async def ask(client: httpx.AsyncClient, question: str) -> tuple[str, list[tuple[str, Any]]]:
    """The stream as it came, and its events; pieces of text that follow on each other are one."""
    sent = (await client.post("/threads/1", json={"question": question})).text
    pairs = [
        dict(line.split(": ", 1) for line in block.split("\n")) for block in sent.split("\n\n")[:-1]
    ]
    events: list[tuple[str, Any]] = []
    for pair in pairs:
        name, data = pair["event"], json.loads(pair["data"])
        if name == "text":
            data = data["text"]
            if events and events[-1][0] == "text":
                data = events.pop()[1] + data
        events.append((name, data))
    return sent, events


async def test_an_answer_is_sent_and_remembered(example: Any) -> None:
    async with client_of(example, InMemorySaver(), SURE, SURE[:3]) as client:
        _, events = await ask(client, "Who?")
        assert [name for name, _ in events] == ["text", "verdict"]
        assert events[0][1] == "It was Ann. She won"
        assert events[1][1]["shown"]
        await ask(client, "And then?")
        remembered = (await client.get("/threads/1")).json()
    assert remembered == ["Who?", "It was Ann. She won", "And then?", "It was Ann"]


async def test_a_withheld_word_is_neither_sent_nor_remembered(example: Any) -> None:
    saver = InMemorySaver()
    async with client_of(example, saver, UNSURE) as client:
        sent, events = await ask(client, "Who?")
        remembered = (await client.get("/threads/1")).json()
    assert [name for name, _ in events] == ["text", "retracted", "text", "verdict"]
    assert events[1][1] == {"characters": len("It was Ann.")}
    assert events[0][1] == "It was Ann."
    assert events[2][1].strip() == RULES.abstention_text
    assert not events[3][1]["shown"]
    assert remembered == []
    kept = [list(saver.list(None)), dict(saver.blobs), dict(saver.writes)]
    assert b"Who?" in pickle.dumps(kept)
    assert MARK not in sent
    assert MARK.encode() not in pickle.dumps(kept)


async def test_an_answer_that_fails_has_no_verdict(example: Any) -> None:
    async with client_of(example, InMemorySaver()) as client:  # nothing to say
        _, events = await ask(client, "Who?")
    assert [name for name, _ in events] == ["error"]
