"""What the tests of agents share: a marked word, answers that are shown or withheld, a tool."""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_energy_guard import ChatEnergyGuard

from energy_guard import Policy
from energy_guard.backends import Scripted

MARK = "Qzplk"
BAD = [("It", 0.9), (" was", 0.9), (f" {MARK}", 0.01), (".", 0.9)]
GOOD = [("Paris", 0.99)]
RULES = Policy(detector="nll:max", warn=1.0, abstain=2.0)
AGAIN = RULES.model_copy(update={"retries": 1})
CALL = [('{"name": "pay", "arguments": {"to": "', 0.99), ("Bob", 0.99), ('"}}', 0.99)]
RISKY = [CALL[0], (MARK, 0.01), CALL[2]]
paid: list[str] = []


def pay(to: str) -> str:
    """Pay somebody."""
    paid.append(to)
    return f"paid {to}"


def model(*answers: Any, policy: Policy = RULES) -> ChatEnergyGuard:
    return ChatEnergyGuard.of(Scripted.saying(*answers), policy)


def agent(asked: Any, *middleware: Any, tools: Any = (), **options: Any) -> Any:
    return create_agent(asked, list(tools), middleware=list(middleware), **options)


def block(message: Any) -> Any:
    return message.response_metadata["energy_guard"]
