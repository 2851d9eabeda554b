"""A guard's result → the message that LangChain gets, and the last chunk of its stream."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages import content as blocks
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk

from energy_guard import Result
from energy_guard.score import Scorer
from langchain_energy_guard.chat_request import ChatRequest
from langchain_energy_guard.guarded_call import is_guarded
from langchain_energy_guard.inside_guarded import withheld_error
from langchain_energy_guard.metadata import response_metadata, usage
from langchain_energy_guard.tools import ToolCalls, read_calls

Content = str | list[str | dict[str, Any]]


@dataclass(frozen=True)
class AnswerMessage:
    """What the message and the last chunk have in common; a call has the same id in both."""

    content: Content
    calls: ToolCalls
    response_metadata: dict[str, Any]
    usage: UsageMetadata

    @classmethod
    def of(cls, result: Result, asked: ChatRequest, scorer: Scorer) -> Self:
        """Read a guard's result.

        Args:
            result: the final one.
            asked: which calls the answer may make, and whether text can stand for it.
            scorer: gives every argument of a call its score.

        Raises:
            AnswerWithheldError: if the answer is withheld and no text can stand for it, or if a
                `guarded` around acts on that.
        """
        calls = ToolCalls()
        if asked.tools:
            calls = read_calls(result.trace, asked.tools, scorer, asked.forced)
        structured = asked.structured or bool(calls)
        if not result.shown and (structured or is_guarded()):
            raise withheld_error(result, structured)
        content: Content = result.text
        if not result.shown:
            content = abstention(result)
        elif calls:
            content = "" if asked.forced else calls.text
        return cls(content, calls, response_metadata(result, calls.details), usage(result))

    def message(self) -> AIMessage:
        """Return the answer as a message."""
        return AIMessage(
            content=self.content,
            tool_calls=list(self.calls.calls),
            invalid_tool_calls=list(self.calls.invalid),
            response_metadata=dict(self.response_metadata),
            usage_metadata=self.usage,
        )

    def last_chunk(self, lead: str | None) -> AIMessageChunk:
        """Return the last chunk, which has all that is not text.

        Args:
            lead: what parts its text from a text before it; None if the answer stands already.
        """
        content = self.content
        if lead is None:
            content = ""
        elif lead and isinstance(content, list):
            content = [lead, *content]
        elif lead:
            content = f"{lead}{content}"
        return AIMessageChunk(
            content=content,
            tool_call_chunks=[
                tool_call_chunk(
                    name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index
                )
                for index, call in enumerate(self.calls.calls)
            ],
            invalid_tool_calls=list(self.calls.invalid),
            response_metadata=dict(self.response_metadata),
            usage_metadata=self.usage,
            chunk_position="last",
        )


def abstention(result: Result) -> Content:
    """Return the text in the place of an answer, and a refusal beside it if LangChain has them."""
    if not hasattr(blocks, "RefusalContentBlock"):  # langchain-core before 1.7.5
        return result.text
    return [
        {"type": "text", "text": result.text},
        {"type": "refusal", "refusal": result.reason},
    ]
