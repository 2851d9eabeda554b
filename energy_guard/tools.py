"""Functions that a model may call: what it is told of them, what it must write, what it wrote.

Tools are in OpenAI's form: {"type": "function", "function": {"name": …, "parameters": …}}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from energy_guard.errors import InputError
from energy_guard.json_text import read_portable_json
from energy_guard.locate import Asked, Range, Span, span_of
from energy_guard.locate.fields import place, scan, values
from energy_guard.locate.span import NOTHING_ASKED
from energy_guard.request import Message, ToolCall
from energy_guard.score import Score, Scorer, Unscored
from energy_guard.shown import shown_text
from energy_guard.tool_calls import arguments_key, called_values, items, tagged_calls
from energy_guard.tool_schema import misfit
from energy_guard.trace import Trace

UNREAD: Final = "a call, but not JSON at the end of the answer or in tags: it is not carried out"
"""What is wrong with a call that is written in another form."""

NOT_PORTABLE: Final = "a call, but its JSON is not the same for every reader: it is not carried out"
"""What is wrong with a call that has a key twice, or a value that JSON or UTF-8 does not have."""

NOT_MADE: Final = "the answer is a call that is not carried out"
"""Why nobody may act on such an answer, however sure the model was of its words."""

_Scoring = Callable[[Span], Score | Unscored]
"""What gives a part of one answer its score."""


@dataclass(frozen=True)
class ReadCall:
    """A call that an answer makes.

    detail: its name, and for each argument the score of its value and where that stands.
    """

    name: str
    arguments: dict[str, Any]
    detail: dict[str, Any]


@dataclass(frozen=True)
class UnreadCall:
    """A text that is meant as a call and is none, and why."""

    text: str
    error: str


@dataclass(frozen=True)
class ReadCalls:
    """What an answer calls. text: what stands beside the calls."""

    calls: tuple[ReadCall, ...] = ()
    unread: tuple[UnreadCall, ...] = ()
    text: str = ""


def name_of(tool: dict[str, Any]) -> str:
    """The name of a tool in OpenAI's form."""
    return str(tool["function"]["name"])


def schemas_of(tools: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the JSON schema of each tool's arguments, by its name.

    Args:
        tools: one without `parameters` takes no arguments, one whose schema is empty takes any.

    Raises:
        InputError: for a schema that is no object of JSON, or that names no dialect as text.
    """
    return {name_of(tool): _schema(tool) for tool in tools}


def _schema(tool: dict[str, Any]) -> dict[str, Any]:
    schema = tool["function"].get("parameters")
    if schema is None:
        return {"type": "object", "properties": {}}
    if not isinstance(schema, dict):
        raise InputError(
            f"the parameters of the tool {name_of(tool)} are no JSON schema of an object",
            'Give an object, such as {"type": "object", "properties": {…}}.',
        )
    if not isinstance(schema.get("$schema", ""), str):
        raise InputError(
            f"the $schema in the parameters of the tool {name_of(tool)} is no text",
            "Leave it out, or give the address of a dialect.",
        )
    return schema or {"type": "object"}


def chosen(tools: Sequence[dict[str, Any]], choice: Any) -> list[dict[str, Any]]:
    """Return the tools among which the model must choose; none if it may answer in words.

    Args:
        tools: all that there are.
        choice: None, "auto", "none", "any", "required", True, a name, or OpenAI's form of a name.

    Raises:
        InputError: for a name that no tool has, and for a form that is another one.
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
                "name": {"const": name},
                "arguments": schema,
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for name, schema in schemas_of(tools).items()
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


def schema_told(schema: str) -> str:
    """What the model is told of the schema that its answer has to follow."""
    return f"Answer with JSON that follows this schema: {schema}"


def instructed(told: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    r"""Return the chat with instructions added to the system prompt that it begins with.

    >>> instructed((Message("system", "Be brief."), Message("user", "Hi")), "Use JSON.")[0].content
    'Be brief.\n\nUse JSON.'
    """
    if told and told[0].role == "system":
        return (Message("system", f"{told[0].content}\n\n{text}"), *told[1:])
    return (Message("system", text), *told)


def said(text: str, calls: tuple[ToolCall, ...], takes_tools: bool) -> Message:
    """Return the turn in which the assistant said a text and made calls.

    Args:
        text: what it said beside them.
        calls: what it called.
        takes_tools: whether the chat template shows calls itself; else they are told in words.
    """
    if takes_tools or not calls:
        return Message("assistant", text, calls=calls)
    told = [f'{{"name": "{call.name}", "arguments": {call.arguments}}}' for call in calls]
    return Message("assistant", "\n".join([text, *told] if text else told))


def result_told(text: str, name: str | None, takes_tools: bool) -> Message:
    """Return the turn that tells what a call of the function `name` came to; see `said`."""
    if takes_tools:
        return Message("tool", text, name=name)
    of = f" of {name}" if name else ""
    return Message("user", f"Result{of}: {text}")


def read_calls(
    trace: Trace,
    tools: Mapping[str, dict[str, Any]],
    scorer: Scorer,
    forced: bool,
    asked: Asked = NOTHING_ASKED,
) -> ReadCalls:
    """Find the calls in an answer: between tags, or all that the answer ends with.

    What is written like a call inside reasoning is not carried out, though its values are judged. A
    call in another form (in a sentence, before words) is an unread one: it is no answer for a user.
    So is whatever stands between tags, or in a list or on lines with a call, and is no call of one
    of these tools with arguments that fit, and a call whose JSON readers take differently.

    Args:
        trace: of the answer.
        tools: those that it may call, see `schemas_of`.
        scorer: gives every argument its score.
        forced: whether the answer has to be a call.
        asked: what the answer is to; some detectors give no score without it.
    """
    return _read(trace, tools, partial(scorer.score, trace, asked=asked), forced)


@dataclass(frozen=True)
class CallsRule:
    """Says of an answer that calls tools why nobody may act on it.

    tools: see `schemas_of`. forced: whether the answer has to be a call. every: whether one call
    that cannot be read is enough for that; else a call beside it that can be read is made.
    """

    tools: Mapping[str, dict[str, Any]]
    forced: bool = False
    every: bool = False

    def __call__(self, trace: Trace) -> str | None:
        """Return why it is no answer, in words that quote nothing; None if it is one."""
        found = _read(trace, self.tools, lambda _: Unscored("nobody asks"), self.forced)
        return NOT_MADE if found.unread and (self.every or not found.calls) else None


def _read(
    trace: Trace, tools: Mapping[str, dict[str, Any]], score: _Scoring, forced: bool
) -> ReadCalls:
    text = trace.text
    # A constraint leaves nothing beside the call; what is not all of one was cut off.
    tagged = [] if forced else tagged_calls(trace)
    found: list[ReadCall | UnreadCall] = []
    if tagged:
        for _, inside in tagged:
            values = called_values(trace, inside)
            called = [c for value in values for c in _called(trace, value, tools, score)]
            found += called or [UnreadCall(text[slice(*inside)], UNREAD)]
        beside = _beside(trace, tagged)
    else:
        whole = [(0, len(text))] if items(text) else []
        values = whole if forced else called_values(trace)
        if forced or any(_is_meant(data, tools) for each in values for data in _in(text, each)):
            found = [call for value in values for call in _called(trace, value, tools, score)]
        beside = _before(trace, values[0]) if found else ""
    calls = tuple(call for call in found if isinstance(call, ReadCall))
    unread = [call for call in found if isinstance(call, UnreadCall)]
    rest = beside if found else shown_text(text, trace.reasoning_open)
    if not forced and _looks_like_call(rest, tools):
        unread.append(UnreadCall(rest, UNREAD))
        beside = ""
    if forced and not calls and not unread:
        unread.append(UnreadCall(text, f"the call is not complete ({trace.finish_reason})"))
    return ReadCalls(calls, tuple(unread), beside)


def _in(text: str, inside: Range) -> list[Any]:
    """What a part of a text may call with."""
    return [data for _, data in items(text[slice(*inside)])]


def _called(
    trace: Trace, inside: Range, tools: Mapping[str, dict[str, Any]], score: _Scoring
) -> list[ReadCall | UnreadCall]:
    """What the JSON in a part of an answer calls; nothing if it is an empty list."""
    written = trace.text[slice(*inside)]
    try:
        read_portable_json(written)
    except (ValueError, RecursionError) as error:
        return [UnreadCall(written, f"{NOT_PORTABLE}: {error}")]
    return [_call(trace, inside, keys, data, tools, score) for keys, data in items(written)]


def _is_meant(data: Any, tools: Mapping[str, dict[str, Any]]) -> bool:
    """Whether JSON is meant as a call, be it a good one or not."""
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return False
    return data["name"] in tools or "arguments" in data or "parameters" in data


def _call(
    trace: Trace,
    inside: Range,
    keys: tuple[str, ...],
    data: Any,
    tools: Mapping[str, dict[str, Any]],
    score: _Scoring,
) -> ReadCall | UnreadCall:
    """The call that a JSON value makes. keys: to the value, in the JSON inside."""
    written = trace.text[slice(*inside)]
    name = data.get("name") if isinstance(data, dict) else None
    if not isinstance(name, str):
        return UnreadCall(written, "a call is an object with a name and arguments")
    if name not in tools:
        return UnreadCall(written, f"no tool is named {name!r}")
    key = arguments_key(data)
    if key is None:
        return UnreadCall(written, f"the call of {name} has no object of arguments")
    arguments = data[key]
    if isinstance(arguments, str):
        try:
            arguments = read_portable_json(arguments)
        except (ValueError, RecursionError) as error:
            return UnreadCall(written, f"{NOT_PORTABLE}: {error}")
    wrong = misfit(arguments, tools[name])
    if wrong is not None:
        return UnreadCall(written, f"the arguments of {name} do not fit: {wrong}")
    scores = _scores(trace, inside, (*keys, key), score, arguments)
    return ReadCall(name, arguments, {"name": name, "arguments": scores})


def _looks_like_call(text: str, tools: Mapping[str, dict[str, Any]]) -> bool:
    """Whether a text has what makes a call: as an answer to a question it is not to be shown."""
    name = "|".join(map(re.escape, tools))
    return re.search(rf'"name"\s*:\s*"(?:{name})"', text) is not None and (
        re.search(r'"(?:arguments|parameters)"\s*:', text) is not None
    )


def _beside(trace: Trace, tagged: Sequence[tuple[Range, Range]]) -> str:
    """The text beside tagged calls, without reasoning."""
    text = trace.text
    for (start, end), _ in reversed(tagged):
        text = text[:start] + text[end:]
    return shown_text(text, trace.reasoning_open).strip()


def _before(trace: Trace, value: Range) -> str:
    """The text before the first of the values that calls stand in, without marks or reasoning."""
    text = _OPENING.sub("", trace.text[: value[0]])
    return shown_text(text, trace.reasoning_open).strip()


_OPENING: Final = re.compile(r"(?:^[ \t]*(?:[`~]{3,}[^\n`]*\n|<tools>)\s*)*\{?\Z", re.MULTILINE)
"""The fence, the tag and the doubled brace before a call."""


def _scores(
    trace: Trace, inside: Range, keys: tuple[str, ...], scoring: _Scoring, arguments: dict[str, Any]
) -> dict[str, Any]:
    """A score for every argument of a call: the tokens of its value are a span of its own.

    Of arguments that stand in a string, that string is the span of each.

    keys: to the arguments, in the JSON inside.
    """
    start, end = inside
    nodes = scan(trace.text[start:end]) or []
    whole = place(nodes, keys)
    in_string = whole is not None and nodes[whole].leaf
    scores = {}
    for name in arguments:
        top = whole if in_string else place(nodes, (*keys, name))
        places = [] if top is None else values(nodes, top)
        located = span_of(trace, [(start + a, start + b) for a, b in places])
        score = scoring(located) if isinstance(located, Span) else None
        scores[name] = {
            "score": score.value if isinstance(score, Score) else None,
            "span": {"start": located.start, "end": located.end, "text": located.text}
            if isinstance(located, Span)
            else None,
        }
    return scores
