"""A guard's events and results → chunks, events and messages, the same for every way of calling.

Knows no threads and no LangChain runs: `ChatEnergyGuard` carries out what comes from here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages import content as blocks
from langchain_core.messages.tool import tool_call_chunk

from energy_guard import Result
from energy_guard.errors import EngineError
from energy_guard.events import Done, GuardEvent, Retracted, Text
from energy_guard.score import Scorer
from langchain_energy_guard import events
from langchain_energy_guard.asking import Asked
from langchain_energy_guard.metadata import response_metadata, usage
from langchain_energy_guard.tools import Calls, read_calls
from langchain_energy_guard.trial import is_guarded, withheld

StreamingMode = Literal["live", "hold"]

_BREAK: Final = "\n\n"
"""Between a text that is withdrawn and what takes its place."""


@dataclass(frozen=True)
class Event:
    """A custom event to send."""

    name: str
    data: dict[str, Any]


@dataclass
class Relay:
    """One answer on its way to whoever asked."""

    asked: Asked
    mode: StreamingMode
    scorer: Scorer
    run_id: UUID | None
    _read: Calls | None = field(default=None, init=False)

    def decision(self, result: Result) -> Event:
        """The verdict, for those who listen."""
        return Event(events.DECISION, events.decision(result, None, self.run_id))

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

    def _calls(self, result: Result) -> Calls:
        """What it calls, read once: a call has the same id in the last chunk and in the message."""
        if self._read is None:
            self._read = self._read_calls(result)
        return self._read

    def _read_calls(self, result: Result) -> Calls:
        calls = Calls(text=result.trace.text)
        if self.asked.tools:
            calls = read_calls(result.trace, self.asked.tools, self.scorer, self.asked.forced)
        structured = self.asked.structured or bool(calls)
        if not result.shown and (structured or is_guarded()):
            raise withheld(result, structured)
        return calls

    def _content(self, result: Result, calls: Calls) -> str | list[str | dict[str, Any]]:
        if not result.shown:
            return abstention(result)
        if calls:
            return "" if self.asked.forced else calls.text
        return result.text


class Streamed:
    """What has been streamed of one answer so far."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        held = relay.mode == "hold" or relay.asked.structured or bool(relay.asked.tools)
        self._live = not held and not is_guarded()
        self._said = False
        self._attempt = ""
        self._result: Result | None = None

    @property
    def result(self) -> Result:
        """The guard's; EngineError where it gave none."""
        if self._result is None:
            raise EngineError("the stream ended without a result")
        return self._result

    def feed(self, event: GuardEvent) -> Iterator[AIMessageChunk | Event]:
        """Take the guard's next event."""
        if isinstance(event, Text) and self._live:
            lead = _BREAK if self._said and not self._attempt else ""
            self._attempt += event.text
            self._said = True
            yield AIMessageChunk(content=lead + event.text)
        elif isinstance(event, Retracted) and self._attempt:
            run = str(self._relay.run_id)
            data = {"run_id": run, "text": self._attempt, "reason": event.reason}
            self._attempt = ""
            yield Event(events.RETRACTED, data)
        elif isinstance(event, Done):
            self._result = event.result
            yield self._relay.decision(event.result)
            after = _BREAK if self._said else ""
            yield self._relay.last_chunk(event.result, None if self._attempt else after)


def abstention(result: Result) -> str | list[str | dict[str, Any]]:
    """The text in the place of an answer; with a refusal beside it where LangChain has them."""
    if not hasattr(blocks, "RefusalContentBlock"):  # langchain-core before 1.7.5
        return result.text
    return [
        {"type": "text", "text": result.text},
        {"type": "refusal", "refusal": result.reason},
    ]
