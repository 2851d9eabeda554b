"""What one call of the model asks for: Pydantic AI's messages, settings and tools → a Request."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import ModelMessage, ModelRequest
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings, ToolChoice, ToolOrOutput
from pydantic_ai.tools import ToolDefinition

from energy_guard.request import JsonSchema, Request, Sampling
from energy_guard.tools import (
    CallsRule,
    call_schema,
    instructed,
    instructions,
    schema_told,
    schemas_of,
)
from pydantic_ai_energy_guard.messages import turns

_SAMPLING: Final = (
    *("temperature", "top_p", "top_k", "seed"),
    *("presence_penalty", "frequency_penalty", "logit_bias"),
)


def asked(
    messages: Sequence[ModelMessage],
    settings: ModelSettings,
    params: ModelRequestParameters,
    *,
    takes_tools: bool,
) -> tuple[Request, CallsRule]:
    """Return what is asked, and the rule on the calls that its answer may make.

    Args:
        messages: the chat so far.
        settings: those of `max_tokens`, `stop_sequences`, `tool_choice` and sampling are used.
        params: tools, instructions and the form of the answer.
        takes_tools: whether the model's chat template shows tools itself.

    Raises:
        UserError: if the answer would have to be an object and a call at once.
        InputError: if a message is no text, or a setting is out of its range.
    """
    offered, forced = _offered(settings.get("tool_choice"), params)
    tools = [_openai_form(tool) for tool in offered]
    told = turns(messages, takes_tools)
    for instruction in _instructions(messages, params):
        told = instructed(told, instruction)
    if tools and not takes_tools:
        told = instructed(told, instructions(tools, forced))
    constraint = JsonSchema(json.dumps(call_schema(tools))) if forced else None
    if params.output_mode == "native" and params.output_object is not None:
        if tools:
            raise UserError(
                "NativeOutput holds an answer to its schema, so that it cannot call tools; "
                "use ToolOutput, whose calls are held to their schemas as well."
            )
        constraint = JsonSchema(json.dumps(params.output_object.json_schema))
        told = instructed(told, schema_told(constraint.schema))
    request = Request(
        messages=told,
        tools=tuple(map(json.dumps, tools)) if takes_tools else (),
        sampling=_sampling(settings),
        constraint=constraint,
        stop=tuple(settings.get("stop_sequences") or ()),
        max_tokens=settings.get("max_tokens") or 256,
    )
    return request, CallsRule(schemas_of(tools), forced, every=True)


def _instructions(messages: Sequence[ModelMessage], params: ModelRequestParameters) -> list[str]:
    if params.instruction_parts is not None:
        return [part.content for part in params.instruction_parts]
    # A request that no agent has made carries them itself.
    carried = [message.instructions for message in messages if isinstance(message, ModelRequest)]
    return [text for text in carried[-1:] if text]


def _offered(
    choice: ToolChoice, params: ModelRequestParameters
) -> tuple[list[ToolDefinition], bool]:
    """The tools that the answer may call, and whether it has to call one."""
    tools = params.declared_tool_defs
    forced = not params.allow_text_output
    if choice is None or choice == "auto":
        return list(tools.values()), forced
    if choice == "required":
        names, forced = [tool.name for tool in params.declared_function_tools], True
    elif isinstance(choice, ToolOrOutput):
        names = [*choice.function_tools, *(tool.name for tool in params.output_tools)]
    elif choice == "none" or not choice:
        names = [tool.name for tool in params.output_tools]
    else:
        names, forced = list(choice), True
    found = [tools[name] for name in names if name in tools]
    if forced and not found:
        raise UserError(f"tool_choice is {choice!r}, and no such tool is offered.")
    return found, forced


def _openai_form(tool: ToolDefinition) -> dict[str, Any]:
    function = {"name": tool.name, "parameters": tool.parameters_json_schema}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _sampling(settings: Mapping[str, Any]) -> Sampling:
    given = {name: settings[name] for name in _SAMPLING if settings.get(name) is not None}
    if "logit_bias" in given:  # Pydantic AI's keys are texts
        given["logit_bias"] = {int(token): bias for token, bias in given["logit_bias"].items()}
    return Sampling(**given)
