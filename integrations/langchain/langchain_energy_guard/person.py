"""A person decides on a call of tools that is withheld: what is asked, and what the answer makes.

Question and answer have the forms of LangChain's HumanInTheLoopMiddleware. Between the call of the
model and the question the calls stand in the agent's state, so that resuming asks no model again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, NotRequired, TypedDict
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool
from pydantic import TypeAdapter, ValidationError

from energy_guard.arguments import not_fitting
from energy_guard.errors import InputError
from energy_guard.extras import needs_extra
from langchain_energy_guard.errors import AnswerWithheldError
from langchain_energy_guard.metadata import KEY, metadata

with needs_extra("agents"):
    from langchain.agents.middleware import AgentState
    from langchain.agents.middleware.human_in_the_loop import (
        ActionRequest,
        Decision,
        HITLResponse,
        ReviewConfig,
    )
    from langchain.agents.middleware.types import PrivateStateAttr
    from langgraph.types import interrupt

ASKED: Final = "energy_guard_asked"
"""Under which key of the state the calls stand that a person is asked about."""

ALLOWED: Final = ("approve", "edit", "reject")

_ANSWER: Final = TypeAdapter(HITLResponse)


class CallsToDecide(TypedDict):
    """Calls that a person is to decide on.

    message_id: of the abstention that stands in their place. judged: the summary of the result, as
    in `response_metadata["energy_guard"]`, with the scores of all arguments.
    """

    message_id: str
    calls: list[ToolCall]
    judged: dict[str, Any]


class GuardState(AgentState[Any]):
    """The state of an agent, with what a person is asked, if anything is."""

    energy_guard_asked: NotRequired[Annotated[CallsToDecide | None, PrivateStateAttr]]


class PersonAsked(TypedDict):
    """What the interrupt carries: LangChain's HITLRequest, and what the guard knows.

    energy_guard: the summary of the result; its `tool_calls` has a score an argument, in the order
    of `action_requests`. No word of what the model wrote beside its calls. problem: what was wrong
    with the last answer, if this is asked once more.
    """

    action_requests: list[ActionRequest]
    review_configs: list[ReviewConfig]
    energy_guard: dict[str, Any]
    problem: NotRequired[str]


def asked_of(
    error: AnswerWithheldError, tools: Sequence[BaseTool | dict[str, Any]]
) -> CallsToDecide | None:
    """Return what a person is to decide on; None if there is no call that the agent could make.

    Args:
        error: that of the answer that is withheld.
        tools: the agent's. An object of structured output is a call of none of them.
    """
    known = {tool.name for tool in tools if isinstance(tool, BaseTool)}
    calls = list(error.calls.calls)
    if not calls or not {call["name"] for call in calls} <= known:
        return None
    judged = metadata(error.result, error.calls.details)
    return CallsToDecide(message_id=str(uuid4()), calls=calls, judged=judged)


def decide(asked: CallsToDecide, abstention: AIMessage) -> list[BaseMessage]:
    """Ask the person until there is a decision on every call; see `decided` for what comes of it.

    An answer that is none is asked for once more. LangGraph keeps every answer for good: if one
    raised here, every later one would come behind it.
    """
    put = question(asked)
    while True:
        answer = interrupt(put)
        try:
            return decided(asked, abstention, answer)
        except InputError as error:
            put["problem"] = str(error)


def question(asked: CallsToDecide) -> PersonAsked:
    """Return what the interrupt carries."""
    calls, judged = asked["calls"], asked["judged"]
    return PersonAsked(
        action_requests=[
            ActionRequest(name=call["name"], args=call["args"], description=_told(call, judged, of))
            for call, of in zip(calls, judged["tool_calls"], strict=True)
        ],
        review_configs=[
            ReviewConfig(action_name=call["name"], allowed_decisions=list(ALLOWED))
            for call in calls
        ],
        energy_guard=judged,
    )


def decided(asked: CallsToDecide, abstention: AIMessage, answer: object) -> list[BaseMessage]:
    """Return the messages in the place of the abstention: the calls, and what was rejected.

    Args:
        asked: what the person was asked.
        abstention: the message that stood in the place of the calls.
        answer: LangChain's HITLResponse.

    Raises:
        InputError: if the answer does not have that form, or not one decision a call.
    """
    decisions = _decisions(answer, len(asked["calls"]))
    pairs = list(zip(asked["calls"], decisions, strict=True))
    carried = abstention.response_metadata
    block = carried[KEY] | {"shown": True, "person": [each["type"] for each in decisions]}
    if "tool_calls" in block:
        block["tool_calls"] = asked["judged"]["tool_calls"]
    said = abstention.model_copy(
        update={
            "content": "",
            "tool_calls": [_as_decided(call, decision) for call, decision in pairs],
            "response_metadata": carried | {KEY: block},
        }
    )
    refused = [_refused(call, each) for call, each in pairs if each["type"] == "reject"]
    return [said, *refused]


def _decisions(answer: object, number: int) -> list[Decision]:
    try:
        decisions = _ANSWER.validate_python(answer)["decisions"]
    except ValidationError as error:
        raise not_fitting(error) from error
    kinds = [decision["type"] for decision in decisions]
    if len(kinds) != number or not set(kinds) <= set(ALLOWED):
        raise InputError(
            f"the decisions are: {', '.join(kinds) or 'none'}; and there are to be {number}",
            f"Each is one of: {', '.join(ALLOWED)}.",
        )
    return decisions


def _as_decided(call: ToolCall, decision: Decision) -> ToolCall:
    """The call as it is made: the person's own one in the place of what the model wrote."""
    if decision["type"] != "edit":
        return call
    edited = decision["edited_action"]
    return ToolCall(name=edited["name"], args=edited["args"], id=call["id"], type="tool_call")


def _refused(call: ToolCall, decision: Decision) -> ToolMessage:
    reason = decision.get("message")
    told = f"A person rejected this call of {call['name']}, and it was not made"
    told += f": {reason}" if reason else ". Make it again only if the user asks for it."
    return ToolMessage(told, name=call["name"], tool_call_id=call["id"], status="error")


def _told(call: ToolCall, judged: dict[str, Any], scored: dict[str, Any]) -> str:
    """What the person reads: why this is asked, the call, and how sure each argument is."""
    lines = [f"The model is not sure of this call: {judged['reason']}", f"Tool: {call['name']}"]
    for name, value in call["args"].items():
        score = scored["arguments"][name]["score"]
        risk = "could not be scored" if score is None else f"score {score:.2f}"
        written = json.dumps(name, ensure_ascii=False)[1:-1]  # a name makes no lines of its own
        lines.append(f"{written}: {json.dumps(value, ensure_ascii=False)} ({risk})")
    return "\n".join(lines)
