"""LangChain's messages → turns that a model's chat template can show; text only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from energy_guard.errors import InputError
from energy_guard.request import Message, Role, ToolCall
from energy_guard.tools import result_told, said

_SILENT: Final = frozenset(
    {
        *("tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call"),
        *("reasoning", "thinking", "redacted_thinking", "refusal"),
    }
)
"""Blocks that are no text to show: calls stand in `tool_calls`, reasoning is not fed back."""

_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
}


def turns(messages: Sequence[BaseMessage], takes_tools: bool = False) -> tuple[Message, ...]:
    """Return the turns of a chat; InputError for anything but text.

    takes_tools: the chat template shows calls and their results itself; else they are told in
    words.

    >>> turns([HumanMessage("Which city?")])[0].content
    'Which city?'
    """
    return tuple(_turn(message, takes_tools) for message in messages)


def passages_of(messages: Sequence[BaseMessage]) -> tuple[tuple[str, ...], list[BaseMessage]]:
    """Take the passages out of the last message: its blocks of LangChain's type "text-plain".

    Returns them and the messages without them. What is asked is then known apart from what the
    answer should rest on, and the words of a passage count as words of the answer.
    """
    last = messages[-1] if messages else None
    if not isinstance(last, HumanMessage) or isinstance(last.content, str):
        return (), list(messages)
    blocks = [(isinstance(b, dict) and b.get("type") == "text-plain", b) for b in last.content]
    passages = tuple(_block_text(block) for is_passage, block in blocks if is_passage)
    rest = [block for is_passage, block in blocks if not is_passage]
    if not passages or not text_of(rest).strip():
        return (), list(messages)
    return passages, [*messages[:-1], last.model_copy(update={"content": rest})]


def text_of(content: str | Sequence[str | dict[str, Any]]) -> str:
    """Return the text of a message's content; InputError for an image, a file or a sound.

    >>> text_of([{"type": "text", "text": "Hello "}, "there"])
    'Hello there'
    """
    if isinstance(content, str):
        return content
    return "".join(_block_text(block) for block in content)


def _turn(message: BaseMessage, takes_tools: bool) -> Message:
    text = text_of(message.content)
    if isinstance(message, SystemMessage):
        return Message("system", text)
    if isinstance(message, HumanMessage):
        return Message("user", text)
    if isinstance(message, AIMessage):
        calls = (ToolCall(call["name"], json.dumps(call["args"])) for call in message.tool_calls)
        return said(text, tuple(calls), takes_tools)
    if isinstance(message, ToolMessage | FunctionMessage):
        return result_told(text, message.name, takes_tools)
    if isinstance(message, ChatMessage) and message.role in _ROLES:
        return Message(_ROLES[message.role], text)
    raise InputError(
        f"a chat template has no place for a {type(message).__name__}",
        "Use system, human, AI and tool messages.",
    )


def _block_text(block: str | dict[str, Any]) -> str:
    if isinstance(block, str):
        return block
    kind = block.get("type")
    if kind in ("text", "text-plain") and isinstance(block.get("text"), str):
        return str(block["text"])
    if kind in _SILENT:
        return ""
    raise InputError(
        f"this model reads text, and a message has a block of type {kind!r}",
        "Give its text, or use a model that reads it.",
    )
