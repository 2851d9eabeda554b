"""Functions that a model may call, between LangChain's forms and the guard's."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import InvalidToolCall, ToolCall
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from energy_guard import tools as core
from energy_guard.locate import Asked
from energy_guard.locate.span import NOTHING_ASKED
from energy_guard.score import Scorer
from energy_guard.trace import Trace

Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool


@dataclass(frozen=True)
class ToolCalls:
    """What an answer calls.

    details: for the metadata, one a call, with its arguments' scores. text: what stands beside
    the calls.
    """

    calls: tuple[ToolCall, ...] = ()
    invalid: tuple[InvalidToolCall, ...] = ()
    details: tuple[dict[str, Any], ...] = ()
    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.calls or self.invalid)


def openai_form(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Return the tools in OpenAI's form; of two with one name the last counts."""
    formatted = [convert_to_openai_tool(tool) for tool in tools]
    return list({core.name_of(tool): tool for tool in formatted}.values())


def read_calls(
    trace: Trace,
    tools: Mapping[str, dict[str, Any]],
    scorer: Scorer,
    forced: bool,
    asked: Asked = NOTHING_ASKED,
) -> ToolCalls:
    """Find the calls in an answer; see `energy_guard.tools.read_calls`."""
    read = core.read_calls(trace, tools, scorer, forced, asked)
    return ToolCalls(
        calls=tuple(tool_call(name=c.name, args=c.arguments, id=_id()) for c in read.calls),
        invalid=tuple(
            invalid_tool_call(name=None, args=c.text, id=_id(), error=c.error) for c in read.unread
        ),
        details=tuple(call.detail for call in read.calls),
        text=read.text,
    )


def scored(called: ToolCalls, trace: Trace, scorer: Scorer, asked: Asked) -> ToolCalls:
    """Return the calls that a user's own model says it makes, with their arguments' scores.

    Args:
        called: as LangChain has them.
        trace: of what the model wrote.
        scorer: gives every argument its score.
        asked: what the answer is to.

    Returns:
        The same calls. Scores are null if the trace does not have just these calls as JSON.
    """
    names = {call["name"]: {"type": "object"} for call in called.calls}
    read = core.read_calls(trace, names, scorer, False, asked).calls
    if [(call.name, call.arguments) for call in read] == [_made(call) for call in called.calls]:
        return replace(called, details=tuple(call.detail for call in read))
    return replace(called, details=tuple(_unscored(call) for call in called.calls))


def _made(call: ToolCall) -> tuple[str, dict[str, Any]]:
    return call["name"], call["args"]


def _unscored(call: ToolCall) -> dict[str, Any]:
    scores = {name: {"score": None, "span": None} for name in call["args"]}
    return {"name": call["name"], "arguments": scores}


def _id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"
