"""An agent with tools; a person decides on the calls that its model is not sure of."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any, Final

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import tool
from langchain_energy_guard import ChatEnergyGuard
from langchain_energy_guard.middleware import EnergyGuardMiddleware
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from energy_guard import Policy

SYSTEM: Final = "You keep the cash box of a club. Use a tool for what it is made for."

RULES: Final = Policy(detector="nll:max", warn=0.3, abstain=0.7)
"""Unsure is what has a token with less than half of the probability (ln 2 is 0.69)."""

BOX: Final = {"Ann": 35, "Bob": 20, "Carla": 50}
"""What each member has in the box, in euros."""


@tool(return_direct=True)
def pay_out(name: str, euros: int) -> str:
    """Pay euros from the cash box to a member."""
    if name not in BOX:
        return f"no member is named {name}"
    BOX[name] -= euros
    return f"paid {euros} euros to {name}, who has {BOX[name]} left"


@tool(return_direct=True)
def balance(name: str) -> str:
    """Say how many euros a member has in the cash box."""
    return f"{name} has {BOX[name]} euros" if name in BOX else f"no member is named {name}"


class Clerk:
    """The agent; each question is a thread of its own."""

    def __init__(self, model: ChatEnergyGuard) -> None:
        self._agent: Any = create_agent(
            model,
            [pay_out, balance],
            system_prompt=SYSTEM,
            middleware=[EnergyGuardMiddleware(ask_person=True)],
            checkpointer=InMemorySaver(),
        )
        self._asked = 0

    def answer(self, question: str) -> list[BaseMessage]:
        """Return what came of a question; a person may be asked in between."""
        self._asked += 1
        thread = {"configurable": {"thread_id": str(self._asked)}}
        state = self._agent.invoke({"messages": [("user", question)]}, thread)
        while "__interrupt__" in state:
            (interrupt,) = state["__interrupt__"]
            decisions = [decision(request) for request in interrupt.value["action_requests"]]
            state = self._agent.invoke(Command(resume={"decisions": decisions}), thread)
        return list(state["messages"][1:])


def decision(request: dict[str, Any]) -> dict[str, Any]:
    """Ask a person about one call until the answer is y, n, or the arguments as JSON."""
    print("\n".join(f"  ? {line}" for line in request["description"].splitlines()))
    while True:
        said = input("  ? y, n, or the arguments as JSON: ").strip()
        if not sys.stdin.isatty():
            print(said)  # a terminal shows it by itself
        if said in ("y", "n"):
            return {"type": "approve" if said == "y" else "reject"}
        try:
            arguments = json.loads(said)
        except json.JSONDecodeError:
            continue
        return {"type": "edit", "edited_action": {"name": request["name"], "args": arguments}}


def lines_of(message: BaseMessage) -> Iterator[str]:
    """Yield a message as lines for the terminal."""
    if not isinstance(message, AIMessage):
        yield f"  {message.text}"
        return
    for call in message.tool_calls:
        told = ", ".join(f"{name}={value!r}" for name, value in call["args"].items())
        yield f"  {call['name']}({told})"
    if message.text:
        yield f"  {message.text}"
    judged = message.response_metadata["energy_guard"]
    by = f", and a person decided: {', '.join(judged['person'])}" if "person" in judged else ""
    yield f"    {judged['verdict']}: {judged['reason']}{by}"


def main() -> int:
    """Answer the questions one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", nargs="+")
    parser.add_argument("--model", default="demo", help="a GGUF file; demo: the embedded model")
    options = parser.parse_args()
    clerk = Clerk(ChatEnergyGuard.of(options.model, RULES, temperature=0, max_tokens=64))
    for question in options.questions:
        print(question)
        for message in clerk.answer(question):
            print(*lines_of(message), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
