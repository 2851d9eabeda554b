"""A guard's result → the message that LangChain gets, or the last chunk of its stream."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages import content as blocks
from langchain_core.messages.tool import tool_call_chunk

from energy_guard import Result
from energy_guard.score import Scorer
from langchain_energy_guard import custom_events
from langchain_energy_guard.chat_request import ChatRequest
from langchain_energy_guard.custom_events import CustomEvent
from langchain_energy_guard.guarded_call import is_guarded
from langchain_energy_guard.inside_guarded import withheld_error
from langchain_energy_guard.metadata import response_metadata, usage
from langchain_energy_guard.tools import ToolCalls, read_calls

StreamingMode = Literal["live", "hold"]


@dataclass
class AnswerMessages:
    """One answer on its way to whoever asked."""

    asked: ChatRequest
    mode: StreamingMode
    scorer: Scorer
    run_id: UUID | None
    _read: ToolCalls | None = field(default=None, init=False)

    def decision(self, result: Result) -> CustomEvent:
        """The verdict, for those who listen."""
        return CustomEvent(
            custom_events.DECISION, custom_events.decision(result, None, self.run_id)
        )

    def message(self, result: Result) -> AIMessage:
        """The answer as a message; AnswerWithheldError where no text can stand for it."""
        calls = self._calls(result)
        return AIMessage(
            content=self._content(result, calls),
            tool_calls=list(calls.calls),
            invalid_tool_calls=list(calls.invalid),
            response_metadata=response_metadata(result, calls.details),
            usage_metadata=usage(result),
        )

    def last_chunk(self, result: Result, lead: str | None) -> AIMessageChunk:
        """The last chunk, which has all that is not text.

        lead: what parts its text from a text before it; None where the answer stands already.
        """
        calls = self._calls(result)
        content = self._content(result, calls)
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
                for index, call in enumerate(calls.calls)
            ],
            invalid_tool_calls=list(calls.invalid),
            response_metadata=response_metadata(result, calls.details),
            usage_metadata=usage(result),
            chunk_position="last",
        )

    def _calls(self, result: Result) -> ToolCalls:
        """What it calls, read once: a call has the same id in the last chunk and in the message."""
        if self._read is None:
            self._read = self._read_calls(result)
        return self._read

    def _read_calls(self, result: Result) -> ToolCalls:
        calls = ToolCalls(text=result.trace.text)
        if self.asked.tools:
            calls = read_calls(result.trace, self.asked.tools, self.scorer, self.asked.forced)
        structured = self.asked.structured or bool(calls)
        if not result.shown and (structured or is_guarded()):
            raise withheld_error(result, structured)
        return calls

    def _content(self, result: Result, calls: ToolCalls) -> str | list[str | dict[str, Any]]:
        if not result.shown:
            return abstention(result)
        if calls:
            return "" if self.asked.forced else calls.text
        return result.text


def abstention(result: Result) -> str | list[str | dict[str, Any]]:
    """The text in the place of an answer; with a refusal beside it where LangChain has them."""
    if not hasattr(blocks, "RefusalContentBlock"):  # langchain-core before 1.7.5
        return result.text
    return [
        {"type": "text", "text": result.text},
        {"type": "refusal", "refusal": result.reason},
    ]
