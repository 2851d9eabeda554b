"""Pydantic AI's messages → turns that a model's chat template can show; text only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequestPart,
    ModelResponse,
    SystemPromptPart,
    TextContent,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)

from energy_guard.errors import InputError
from energy_guard.request import Message, ToolCall
from energy_guard.tools import result_told, said


def turns(messages: Iterable[ModelMessage], takes_tools: bool) -> tuple[Message, ...]:
    """Return the turns of a chat. Reasoning of earlier answers is left out.

    Args:
        messages: as Pydantic AI hands them to a model, prepared for it.
        takes_tools: whether the chat template shows calls and their results itself; else they are
            told in words.

    Raises:
        InputError: if a message has a part that is no text.

    >>> from pydantic_ai.messages import ModelRequest
    >>> turns([ModelRequest.user_text_prompt("Which city?")], False)[0].content
    'Which city?'
    """
    return tuple(turn for message in messages for turn in _turns(message, takes_tools))


def _turns(message: ModelMessage, takes_tools: bool) -> Iterator[Message]:
    if isinstance(message, ModelResponse):
        text = "".join(part.content for part in message.parts if isinstance(part, TextPart))
        calls = tuple(
            ToolCall(part.tool_name, part.args_as_json_str())
            for part in message.parts
            if isinstance(part, ToolCallPart)
        )
        if text or calls:
            yield said(text, calls, takes_tools)
        return
    for part in message.parts:
        yield _turn(part, takes_tools)


def _turn(part: ModelRequestPart, takes_tools: bool) -> Message:
    if isinstance(part, SystemPromptPart):
        return Message("system", part.content)
    if isinstance(part, UserPromptPart):
        return Message("user", _text(part.content))
    if isinstance(part, ToolReturnPart):
        return result_told(part.model_response_str(), part.tool_name, takes_tools)
    raise InputError(
        f"a chat template has no place for a {type(part).__name__}",
        "Use system prompts, user prompts and results of tools.",
    )


def _text(content: str | Sequence[UserContent]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(_item(item) for item in content)


def _item(item: UserContent) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, TextContent):
        return item.content
    raise InputError(
        f"this model reads text, and a prompt has a {type(item).__name__}",
        "Give its text, or use a model that reads it.",
    )
