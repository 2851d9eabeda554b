"""The verdict is in the metadata and the tags of a model's run, and on a span of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tracers import LangChainTracer
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from langchain_energy_guard import AnswerWithheldError, ChatEnergyGuard
from langsmith import Client, tracing_context
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from spans import listening, told

from energy_guard import Policy
from energy_guard.backends import Scripted

SURE = [("Par", 0.97), ("is", 0.99)]
CALL = [('{"name": "pay", "arguments": {"to": "', 0.9), ("Bob", 0.01), ('"}}', 0.9)]
RULES = Policy(detector="nll:max", warn=1.0, abstain=2.0)
PROMPT = ChatPromptTemplate.from_template("{q}")
VERDICT = {
    "energy_guard.verdict": "accept",
    "energy_guard.shown": True,
    "energy_guard.detector": "nll:max",
    "energy_guard.attempts": 1,
}


class Traced(BaseTracer):
    """Keeps the runs that ended."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.runs += [run, *run.child_runs]


def model(*answers: Any, **settings: Any) -> ChatEnergyGuard:
    return ChatEnergyGuard.of(Scripted.saying(*(answers or [SURE] * 2)), RULES, **settings)


async def _all(chunks: Any) -> list[Any]:
    return [chunk async for chunk in chunks]


WAYS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda c: model().invoke("Which city?", c),
    "ainvoke": lambda c: asyncio.run(model().ainvoke("Which city?", c)),
    "batch": lambda c: model().batch(["Which city?"], c),
    "stream": lambda c: list(model().stream("Which city?", c)),
    "astream": lambda c: asyncio.run(_all(model().astream("Which city?", c))),
    "chain": lambda c: list((PROMPT | model()).stream({"q": "Which city?"}, c)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_has_the_verdict_in_its_metadata_and_tags(way: str) -> None:
    traced = Traced()
    config = {"callbacks": [traced], "metadata": {"mine": 1}, "tags": ["own"]}
    WAYS[way](config)
    [run] = [run for run in traced.runs if run.run_type == "llm"]
    assert run.extra["metadata"].items() >= {**VERDICT, "mine": 1}.items()
    assert {"own", "energy_guard:accept"} <= set(run.tags or ())
    assert (config["metadata"], config["tags"]) == ({"mine": 1}, ["own"])


def test_each_run_of_a_batch_has_its_own_verdict() -> None:
    traced = Traced()
    model(SURE, [("Lyon", 0.01)]).batch(["a?", "b?"], {"callbacks": [traced]})
    found = [
        (run.extra["metadata"]["energy_guard.verdict"], run.tags and run.tags[-1])
        for run in traced.runs
    ]
    assert found == [("accept", "energy_guard:accept"), ("abstain", "energy_guard:abstain")]


def test_a_withheld_call_has_its_verdict_on_the_run_that_failed() -> None:
    traced = Traced()
    asked = model(CALL).bind_tools([_tool()], tool_choice="pay")
    with pytest.raises(AnswerWithheldError):
        asked.invoke("Pay Bob", {"callbacks": [traced]})
    [run] = traced.runs
    assert run.error is not None
    assert run.extra["metadata"]["energy_guard.verdict"] == "abstain"


def _tool() -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"to": {"type": "string"}}}
    return {"name": "pay", "description": "Pay somebody.", "parameters": parameters}


@pytest.mark.parametrize("way", ["invoke", "stream", "astream"])
def test_langsmith_gets_it_when_the_run_ends(way: str) -> None:
    client = MagicMock(spec=Client)
    WAYS[way]({"callbacks": [LangChainTracer(client=client)]})
    sent = client.update_run.call_args.kwargs
    assert sent["extra"]["metadata"].items() >= VERDICT.items()
    assert "energy_guard:accept" in sent["tags"]


@pytest.mark.parametrize("way", ["invoke", "stream", "astream"])
def test_a_tracer_of_the_environment_gets_it_too(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """LangChain makes one for each call then."""
    client = MagicMock(spec=Client)
    monkeypatch.setattr("langchain_core.tracers.langchain.get_client", lambda: client)
    with tracing_context(enabled=True):
        WAYS[way]({})
    assert client.update_run.call_args.kwargs["tags"] == ["energy_guard:accept"]


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_one_span(way: str) -> None:
    spans: InMemorySpanExporter = listening()
    with trace.get_tracer("test").start_as_current_span("caller") as caller:
        WAYS[way]({})
    [span] = [each for each in spans.get_finished_spans() if each.name != "caller"]
    assert told(span)["energy_guard.verdict"] == "accept"
    assert span.parent is not None
    assert span.parent.span_id == caller.get_span_context().span_id
