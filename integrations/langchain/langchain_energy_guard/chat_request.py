"""What one call of the model asks for: LangChain's messages and options → a Request."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_core.messages import BaseMessage

from energy_guard.errors import InputError
from energy_guard.request import Grammar, JsonSchema, Request, Sampling
from energy_guard.tools import (
    call_schema,
    chosen,
    instructed,
    instructions,
    schema_told,
    schemas_of,
)
from langchain_energy_guard.inside_guarded import deadline_here
from langchain_energy_guard.messages import passages_of, turns
from langchain_energy_guard.tools import openai_form

SAMPLING: Final = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty", "seed")
_OWN: Final = ("max_tokens", "timeout")
_OTHERS: Final = ("stream", "tools", "tool_choice", "response_format", "grammar")


@dataclass(frozen=True)
class ChatRequest:
    """A request, and what its answer has to be.

    tools: the functions that the answer may call, with the schemas of their arguments. forced: it
    must call one. structured: text cannot stand for the answer.
    """

    request: Request
    tools: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    forced: bool = False
    structured: bool = False


def chat_request(
    messages: Sequence[BaseMessage],
    settings: Mapping[str, Any],
    stop: Sequence[str] | None,
    options: Mapping[str, Any],
    takes_tools: bool,
) -> ChatRequest:
    """Return what is asked; `options` of the call count more than `settings` of the model.

    Raises InputError for an option that there is not, and for messages that are not text.
    """
    unknown = sorted(options.keys() - {*SAMPLING, *_OWN, *_OTHERS})
    if unknown:
        raise InputError(
            f"ChatEnergyGuard has no option {', '.join(unknown)}",
            f"One of: {', '.join((*SAMPLING, *_OWN, *_OTHERS, 'stop'))}.",
        )
    given = {**settings, **{name: options[name] for name in options if name not in _OTHERS}}
    tools = openai_form(options.get("tools") or ())
    choice = options.get("tool_choice")
    if choice == "none":
        tools = []
    forced = chosen(tools, choice)
    passages, asking = passages_of(messages)
    told = turns(asking, takes_tools)
    if tools and not takes_tools:
        told = instructed(told, instructions(forced or tools, bool(forced)))
    constraint = _constraint(options, forced)
    if isinstance(constraint, JsonSchema) and not forced:
        told = instructed(told, schema_told(constraint.schema))
    sampling = {name: given[name] for name in SAMPLING if given.get(name) is not None}
    request = Request(
        messages=told,
        context=passages,
        tools=tuple(map(json.dumps, tools)) if takes_tools else (),
        sampling=Sampling(**sampling),
        constraint=constraint,
        stop=tuple(stop or ()),
        max_tokens=given["max_tokens"],
        deadline=deadline_here(given.get("timeout")),
    )
    called = schemas_of(forced or tools)
    return ChatRequest(request, called, bool(forced), constraint is not None)


def _constraint(
    options: Mapping[str, Any], forced: Sequence[dict[str, Any]]
) -> Grammar | JsonSchema | None:
    """What the answer must follow: a call, a format, a grammar, or nothing."""
    if forced:
        return JsonSchema(json.dumps(call_schema(forced)))
    form, grammar = options.get("response_format"), options.get("grammar")
    if form is not None:
        return JsonSchema(json.dumps(_schema(form)))
    return None if grammar is None else Grammar(grammar)


def _schema(form: Any) -> dict[str, Any]:
    """The schema in OpenAI's `response_format`."""
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind == "json_object":
        return dict(form.get("schema") or {"type": "object"})
    if kind == "json_schema" and isinstance(form.get("json_schema"), Mapping):
        return dict(form["json_schema"]["schema"])
    raise InputError(
        "response_format is not understood",
        'Give {"type": "json_object"}, or {"type": "json_schema", "json_schema": {"schema": …}}.',
    )
