"""Functions that a model may call: what it is told, what it must write, what it wrote."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.messages import InvalidToolCall, ToolCall
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from energy_guard.errors import InputError
from energy_guard.locate import Range, Span, span_of
from energy_guard.locate.fields import place, scan, values
from energy_guard.score import Score, Scorer
from energy_guard.shown import shown_text
from energy_guard.tool_calls import arguments_key, objects, tagged_calls
from energy_guard.trace import Trace

Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool


_UNREAD: Final = "a call, but not JSON alone or between <tool_call> tags: it is not carried out"


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
    return list({name_of(tool): tool for tool in formatted}.values())


def name_of(tool: dict[str, Any]) -> str:
    """The name of a tool in OpenAI's form."""
    return str(tool["function"]["name"])


def chosen(tools: Sequence[dict[str, Any]], choice: Any) -> list[dict[str, Any]]:
    """Return the tools among which the model must choose; none if it may answer in words.

    choice: None, "auto", "none", "any", "required", True, a name, or OpenAI's form of a name.
    Raises InputError for a name that no tool has, and for a form that is another one.
    """
    if choice in (None, False, "auto", "none"):
        return []
    if choice in (True, "any", "required"):
        return list(tools)
    form = choice.get("function") if isinstance(choice, dict) else None
    name = form.get("name") if isinstance(form, dict) else choice
    found = [tool for tool in tools if name_of(tool) == name]
    if not found:
        known = ", ".join(map(name_of, tools))
        raise InputError(
            f"tool_choice is {name!r}, and the tools are: {known}",
            'Give "any", a name, or {"type": "function", "function": {"name": …}}.',
        )
    return found


def call_schema(tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The JSON schema of one call of any of the tools."""
    forms = [
        {
            "type": "object",
            "properties": {
                "name": {"const": name_of(tool)},
                "arguments": tool["function"].get("parameters")
                or {"type": "object", "properties": {}},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def instructions(tools: Sequence[dict[str, Any]], forced: bool) -> str:
    """What the model is told if its chat template has no place for tools."""
    listed = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    when = "Call one of these functions" if forced else "You can call these functions"
    return (
        f'{when} by answering with JSON only, as in {{"name": "function", "arguments": {{}}}}:\n'
        f"{listed}"
    )


def read_calls(trace: Trace, names: Sequence[str], scorer: Scorer, forced: bool) -> ToolCalls:
    """Find the calls in an answer: JSON with a name and arguments, bare or between tags.

    What is written like a call inside reasoning is not carried out, though its values are judged. A
    call in another form (behind words, in a code fence, in double braces) is an invalid one: it is
    no answer for a user.
    """
    text, tagged = trace.text, tagged_calls(trace)
    places = [inside for _, inside in tagged] or [(0, len(text))]
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    details: list[dict[str, Any]] = []
    for start, end in places:
        found = objects(text[start:end])
        if tagged and not found and not forced:
            invalid.append(_invalid(text[start:end], _UNREAD))
        for keys, data in found:
            key, name = arguments_key(data), data.get("name")
            if key is not None and isinstance(name, str) and name in names:
                calls.append(tool_call(name=name, args=data[key], id=_id()))
                details.append(_detail(trace, start, end, (*keys, key), calls[-1], scorer))
            elif forced:
                invalid.append(_invalid(text[start:end], f"no tool is named {name!r}"))
    rest = _beside(trace, tagged)
    if not tagged and not calls:
        rest = shown_text(text, trace.reasoning_open)
    if not forced and _looks_like_call(rest, names):
        invalid.append(_invalid(rest, _UNREAD))
    if forced and not calls and not invalid:
        invalid.append(_invalid(text, f"the call is not complete ({trace.finish_reason})"))
    beside = "" if invalid and not tagged else _beside(trace, tagged)
    return ToolCalls(tuple(calls), tuple(invalid), tuple(details), beside)


def _looks_like_call(text: str, names: Sequence[str]) -> bool:
    """Whether a text has what makes a call: as an answer to a question it is not to be shown."""
    name = "|".join(map(re.escape, names))
    return re.search(rf'"name"\s*:\s*"(?:{name})"', text) is not None and (
        re.search(r'"(?:arguments|parameters)"\s*:', text) is not None
    )


def _beside(trace: Trace, tagged: Sequence[tuple[Range, Range]]) -> str:
    """The text beside tagged calls, without reasoning."""
    text = trace.text if tagged else ""
    for (start, end), _ in reversed(tagged):
        text = text[:start] + text[end:]
    return shown_text(text, trace.reasoning_open).strip()


def _detail(
    trace: Trace, start: int, end: int, keys: tuple[str, ...], call: ToolCall, scorer: Scorer
) -> dict[str, Any]:
    """The call with a score for every argument: the tokens of its value are a span of its own.

    keys: to the arguments, in the JSON between start and end.
    """
    nodes = scan(trace.text[start:end]) or []
    arguments = {}
    for name in call["args"]:
        top = place(nodes, (*keys, name))
        places = [] if top is None else values(nodes, top)
        located = span_of(trace, [(start + a, start + b) for a, b in places])
        score = scorer.score(trace, located) if isinstance(located, Span) else None
        arguments[name] = {
            "score": score.value if isinstance(score, Score) else None,
            "span": {"start": located.start, "end": located.end, "text": located.text}
            if isinstance(located, Span)
            else None,
        }
    return {"name": call["name"], "arguments": arguments}


def _invalid(text: str, error: str) -> InvalidToolCall:
    return invalid_tool_call(name=None, args=text, id=_id(), error=error)


def _id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"
