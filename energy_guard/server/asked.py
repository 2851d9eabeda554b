"""What a body asks for: requests to the guard, and what their answers have to be."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from energy_guard.request import JsonSchema, Message, Request, RequestOptions, Sampling, ToolCall
from energy_guard.server.errors import ApiError
from energy_guard.server.schemas import (
    AnswerBody,
    AssistantTurn,
    ChatBody,
    Content,
    GuardOptions,
    JsonObjectForm,
    JsonSchemaForm,
    NamedTool,
    SystemTurn,
    TextBody,
    ToolTurn,
    Turn,
)
from energy_guard.server.settings import Details, ServerSettings, StreamMode
from energy_guard.tools import (
    call_schema,
    chosen,
    instructed,
    instructions,
    result_told,
    said,
    schema_told,
    schemas_of,
)

_SAMPLING: Final = (
    *("temperature", "top_p", "top_k", "min_p", "seed"),
    *("frequency_penalty", "presence_penalty", "repeat_penalty"),
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a client wants.

    requests: one a choice. copies: how many in a row are the same. chat: whether answers are
    messages. tools: functions that an answer may call, with the schemas of their arguments.
    forced: it must call one. structured: text cannot stand for it. logprobs: whether every token
    is listed. signals: whether it is listed with what the guard measured. beginning: token ids that
    the answer begins with; none for an answer that the model begins. stream: None for one response.
    usage: whether a stream ends with the number of tokens.
    """

    requests: tuple[Request, ...]
    chat: bool
    copies: int = 1
    tools: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    forced: bool = False
    structured: bool = False
    logprobs: bool = False
    signals: bool = False
    beginning: tuple[int, ...] = ()
    details: Details = "summary"
    stream: StreamMode | None = None
    usage: bool = False


def wanted_of_chat(
    body: ChatBody, settings: ServerSettings, takes_tools: bool, abstention: str = ""
) -> Wanted:
    """Read a chat.

    Args:
        body: of the request.
        settings: limits and defaults.
        takes_tools: whether the model's chat template shows tools.
        abstention: what stands in the place of an answer that is withheld.

    Raises:
        EnergyGuardError: for what is not to be had here.
    """
    tools = [tool.form for tool in body.tools or ()]
    choice = body.tool_choice
    tools = [] if choice == "none" else tools
    forced = chosen(tools, choice.function.name if isinstance(choice, NamedTool) else choice)
    if tools and body.parallel_tool_calls is False and not forced:
        raise ApiError(
            400,
            "parallel_tool_calls: false holds only for a call that is forced",
            'Leave it out, or set tool_choice to "required" or a function.',
            param="parallel_tool_calls",
        )
    schema = _schema(body, forced)
    told = turns_of(body.messages, takes_tools, abstention)
    if tools and not takes_tools:
        told = instructed(told, instructions(forced or tools, bool(forced)))
    if schema is not None and not forced:
        told = instructed(told, schema_told(schema))
    options = _options(body, settings, body.max_completion_tokens or body.max_tokens)
    options["tools"] = tuple(map(json.dumps, tools)) if takes_tools else ()
    options["alternatives"] = body.top_logprobs or 0
    options["constraint"] = None if schema is None else JsonSchema(schema)
    beginning = body.energy_guard.beginning or ()
    # What may be a call is no text to show, and the verdict of a whole comes after its parts.
    held = bool(tools or beginning)
    return Wanted(
        requests=_choices(Request.chat(told, **options), body.n, settings),
        chat=True,
        copies=body.n or 1,
        tools=schemas_of(forced or tools),
        forced=bool(forced),
        structured=schema is not None,
        logprobs=bool(body.logprobs),
        signals=body.energy_guard.signals,
        beginning=beginning,
        details=_details(body.energy_guard.details, settings),
        stream=_stream(body, body.energy_guard, settings, held),
        usage=body.stream_options is not None and body.stream_options.include_usage,
    )


def wanted_of_text(body: TextBody, settings: ServerSettings) -> Wanted:
    """Read a plain completion; raises as `wanted_of_chat`."""
    options = _options(body, settings, body.max_tokens)
    options["alternatives"] = body.logprobs or 0
    prompt = body.prompt
    if isinstance(prompt, str):
        requests = [Request.raw(prompt, **options)]
    elif isinstance(prompt[0], int):
        requests = [Request(ids=prompt, **options)]  # type: ignore[arg-type]  # all of them are
    else:
        _check_count(len(prompt) * (body.n or 1), settings)  # before each is made
        requests = [Request.raw(str(text), **options) for text in prompt]
    choices = [one for request in requests for one in _choices(request, body.n, settings)]
    _check_count(len(choices), settings)
    return Wanted(
        requests=tuple(choices),
        chat=False,
        copies=body.n or 1,
        logprobs=body.logprobs is not None,
        details=_details(body.energy_guard.details, settings),
        stream=_stream(body, body.energy_guard, settings, held=False),
        usage=body.stream_options is not None and body.stream_options.include_usage,
    )


def turns_of(
    messages: tuple[Turn, ...], takes_tools: bool, abstention: str = ""
) -> tuple[Message, ...]:
    """Return the turns that the model sees.

    A question whose answer was withheld is left out with the refusal: a model copies refusals,
    and is then sure of them. abstention: what stands in the place of such an answer.

    Raises:
        ApiError: for the result of a call that nobody made.
    """
    told: list[Message] = []
    names: dict[str, str] = {}
    for number, turn in enumerate(messages):
        if isinstance(turn, AssistantTurn):
            names |= {call.id: call.function.name for call in turn.tool_calls or ()}
            text = _said(turn)
            if text in ("", abstention, turn.refusal) and not turn.tool_calls:
                if told and told[-1].role == "user":
                    told.pop()
                continue
            calls = (ToolCall(c.function.name, c.function.arguments) for c in turn.tool_calls or ())
            told.append(said(text, tuple(calls), takes_tools))
        elif isinstance(turn, ToolTurn):
            if turn.tool_call_id not in names:
                raise ApiError(
                    400,
                    "a message of the role tool has a tool_call_id that no call before it has",
                    param=f"messages.{number}.tool_call_id",
                )
            name = names[turn.tool_call_id]
            told.append(result_told(_text(turn.content), name, takes_tools))
        else:
            role = "system" if isinstance(turn, SystemTurn) else "user"
            told.append(Message(role, _text(turn.content)))  # type: ignore[arg-type]
    return tuple(told)


def _text(content: Content) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _said(turn: AssistantTurn) -> str:
    if isinstance(turn.content, str):
        return turn.content
    return "".join(part.text or "" for part in turn.content or ())


def _schema(body: ChatBody, forced: list[dict[str, Any]]) -> str | None:
    """The schema that the answer must follow, as JSON text: of a call, of a format, or none."""
    if forced:
        return json.dumps(call_schema(forced))
    if isinstance(body.response_format, JsonObjectForm):
        return '{"type": "object"}'
    if isinstance(body.response_format, JsonSchemaForm):
        return json.dumps(body.response_format.json_schema.schema_)
    return None


def _options(body: AnswerBody, settings: ServerSettings, max_tokens: int | None) -> RequestOptions:
    if max_tokens is not None and max_tokens > settings.max_tokens:
        raise ApiError(
            400,
            f"{max_tokens} tokens are more than this server lets an answer have",
            f"Ask for at most {settings.max_tokens}.",
            param="max_tokens",
        )
    given = {name: getattr(body, name) for name in _SAMPLING}
    return {
        "sampling": Sampling(**{name: value for name, value in given.items() if value is not None}),
        "stop": body.stop or (),
        "max_tokens": max_tokens or settings.max_tokens,
        "deadline": time.monotonic() + settings.timeout_s,
    }


def _choices(request: Request, n: int | None, settings: ServerSettings) -> tuple[Request, ...]:
    """The request once for each choice; seeds count up, or all choices would be the same."""
    _check_count(n or 1, settings)
    seed = request.sampling.seed
    if seed is None:
        return (request,) * (n or 1)
    seeds = (replace(request.sampling, seed=(seed + i) % 2**32) for i in range(n or 1))
    return tuple(replace(request, sampling=sampling) for sampling in seeds)


def _check_count(count: int, settings: ServerSettings) -> None:
    if count > settings.max_choices:
        raise ApiError(
            400,
            f"{count} answers to one request are too many",
            f"Ask for at most {settings.max_choices}.",
            param="n",
        )


def _details(details: Details, settings: ServerSettings) -> Details:
    if details == "full" and not settings.reveal:
        raise ApiError(
            403,
            "this server does not tell the words of an answer that is withheld",
            'Ask for "shown", which has all else.',
            kind="permission_error",
            param="energy_guard.details",
        )
    return details


def _stream(
    body: AnswerBody, options: GuardOptions, settings: ServerSettings, held: bool
) -> StreamMode | None:
    if not body.stream:
        return None
    return "hold" if held else options.stream or settings.stream
