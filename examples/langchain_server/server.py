"""A chat over HTTP: FastAPI, a LangGraph with a checkpointer, sentences as server-sent events."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage, trim_messages
from langchain_energy_guard import ChatEnergyGuard
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from energy_guard.errors import EnergyGuardError

SYSTEM: Final = "Answer in at most three short sentences."

REMEMBERED: Final = 12
"""Messages of a thread that the model still sees."""


class State(MessagesState):
    """A thread. messages: what was asked and shown. question: what is asked now."""

    question: str


class Asked(BaseModel):
    """What comes in."""

    question: str


def graph_of(model: ChatEnergyGuard, saver: BaseCheckpointSaver[Any]) -> Any:
    """Make the chat; a question is remembered with its answer, and only if that was shown."""

    async def answer(state: State) -> dict[str, Any]:
        question = HumanMessage(state["question"])
        known = trim_messages(
            state["messages"],
            max_tokens=REMEMBERED,
            token_counter=len,  # messages are counted, not tokens
            start_on="human",
        )
        said = await model.ainvoke([SystemMessage(SYSTEM), *known, question])
        shown = said.response_metadata["energy_guard"]["shown"]
        return {"messages": [question, said] if shown else []}

    graph = StateGraph(State)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    return graph.compile(checkpointer=saver)


def app_of(model: ChatEnergyGuard, saver: BaseCheckpointSaver[Any]) -> FastAPI:
    """Make the server."""
    graph, app = graph_of(model, saver), FastAPI()

    @app.post("/threads/{thread}", response_class=EventSourceResponse)
    async def ask(thread: str, asked: Asked) -> AsyncIterator[ServerSentEvent]:
        """Answer a question; the answer stands if the last event is a verdict that shows it."""
        config = {"configurable": {"thread_id": thread}}
        verdict: dict[str, Any] = {}
        modes = ["messages", "custom"]
        try:
            async for mode, part in graph.astream(asked.model_dump(), config, stream_mode=modes):
                if mode == "messages":
                    # A message that was streamed comes in chunks; others are what is remembered.
                    if isinstance(part[0], AIMessageChunk) and part[0].text:
                        yield ServerSentEvent(event="text", data={"text": part[0].text})
                elif part["event"] == "energy_guard_retracted":
                    told = {"characters": part["data"]["characters"]}
                    yield ServerSentEvent(event="retracted", data=told)
                elif part["event"] == "energy_guard_decision":
                    verdict = part["data"]
        except EnergyGuardError as error:
            yield ServerSentEvent(event="error", data={"message": error.message})
            return
        names = ("move", "shown", "p_wrong", "reason")
        yield ServerSentEvent(event="verdict", data={name: verdict[name] for name in names})

    @app.get("/threads/{thread}")
    async def remembered(thread: str) -> list[str]:
        """Say what a thread remembers."""
        state = await graph.aget_state({"configurable": {"thread_id": thread}})
        return [message.text for message in state.values.get("messages", [])]

    return app


def main() -> None:
    """Serve on this machine alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo", help="a GGUF file; demo: the embedded model")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    model = ChatEnergyGuard.of(given.model, streaming_mode="sentence", max_tokens=120)
    uvicorn.run(app_of(model, InMemorySaver()), port=given.port)


if __name__ == "__main__":
    main()
