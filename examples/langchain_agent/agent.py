"""An agent with tools; a person decides on the calls that its model is not sure of."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any, Final

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_energy_guard import ChatEnergyGuard
from langchain_energy_guard.middleware import EnergyGuardMiddleware
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

SYSTEM: Final = "You keep the cash box of a club. When you have what you need, answer in one sentence."

MEMBERS: Final = {"Ann": 35, "Bob": 20, "Carla": 50}
"""What each of them has in the box, in euros."""


def balance(name: str) -> str:
    """Say how many euros a member has in the cash box."""
    return f"{name} has {MEMBERS[name]} euros" if name in MEMBERS else f"no member is named {name}"


def pay_out(name: str, euros: int) -> str:
    """Pay euros from the cash box to a member."""
    if name not in MEMBERS:
        return f"no member is named {name}"
    MEMBERS[name] -= euros
    return f"paid {euros} euros to {name}, who has {MEMBERS[name]} left"


class Clerk:
    """The agent, and the thread that its checkpoints stand under."""

    def __init__(self, model: ChatEnergyGuard) -> None:
        self._agent: Any = create_agent(
            model,
            [balance, pay_out],
            system_prompt=SYSTEM,
            middleware=[EnergyGuardMiddleware(ask_person=True)],
            checkpointer=InMemorySaver(),
        )
        self._asked = 0

    def answers(self, question: str) -> Iterator[BaseMessage]:
        """Yield what the agent does about one question, as it comes; a person may be asked."""
        self._asked += 1
        thread = {"configurable": {"thread_id": str(self._asked)}}
        given: Any = {"messages": [("user", question)]}
        while given is not None:
            decisions = []
            for update in self._agent.stream(given, thread, stream_mode="updates"):
                for node, changed in update.items():
                    if node == "__interrupt__":
                        (interrupt,) = changed
                        asked = interrupt.value["action_requests"]
                        decisions = [decision(request) for request in asked]
                    else:
                        yield from (changed or {}).get("messages", [])
            given = Command(resume={"decisions": decisions}) if decisions else None


def decision(request: dict[str, Any]) -> dict[str, Any]:
    """Ask a person about one call: y, n, or other arguments as JSON."""
    print("\n".join(f"  ? {line}" for line in request["description"].splitlines()))
    while True:
        said = input("  ? y, n, or the arguments as JSON: ").strip()
        if not sys.stdin.isatty():
            print(said)  # a terminal shows it by itself
        if said == "y":
            return {"type": "approve"}
        if said == "n":
            return {"type": "reject"}
        try:
            edited = {"name": request["name"], "args": json.loads(said)}
        except json.JSONDecodeError:
            continue
        return {"type": "edit", "edited_action": edited}


def shown(message: BaseMessage) -> Iterator[str]:
    """Yield a message as lines for the terminal."""
    if isinstance(message, AIMessage) and message.tool_calls:
        for call in message.tool_calls:
            told = ", ".join(f"{name}={value!r}" for name, value in call["args"].items())
            yield f"  {call['name']}({told})"
    elif isinstance(message, ToolMessage):
        yield f"  -> {message.text}"
    elif isinstance(message, AIMessage):
        judged = message.response_metadata["energy_guard"]
        yield message.text
        yield f"  {judged['verdict']}: {judged['reason']}"


def main() -> int:
    """Answer the questions one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", nargs="+")
    parser.add_argument("--model", default="demo", help="a GGUF file; demo: the embedded model")
    options = parser.parse_args()
    clerk = Clerk(ChatEnergyGuard.of(options.model, temperature=0, max_tokens=96))
    for question in options.questions:
        print(question)
        for message in clerk.answers(question):
            print(*shown(message), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
