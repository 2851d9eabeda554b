"""A guard's events → chunks and custom events, the same for every way of calling.

Knows no threads and no LangChain runs: `ChatEnergyGuard` carries out what comes from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from langchain_core.messages import AIMessageChunk

from energy_guard import Result
from energy_guard.errors import EngineError
from energy_guard.events import Done, GuardEvent, Retracted, Text
from langchain_energy_guard import custom_events
from langchain_energy_guard.answer_messages import AnswerMessages
from langchain_energy_guard.custom_events import CustomEvent
from langchain_energy_guard.guarded_call import is_guarded

_BREAK: Final = "\n\n"
"""Between a text that is withdrawn and what takes its place."""


class AnswerStream:
    """What has been streamed of one answer so far."""

    def __init__(self, messages: AnswerMessages) -> None:
        self._messages = messages
        held = messages.mode == "hold" or messages.asked.structured or bool(messages.asked.tools)
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

    def feed(self, event: GuardEvent) -> Iterator[AIMessageChunk | CustomEvent]:
        """Take the guard's next event."""
        if isinstance(event, Text) and self._live:
            lead = _BREAK if self._said and not self._attempt else ""
            self._attempt += event.text
            self._said = True
            yield AIMessageChunk(content=lead + event.text)
        elif isinstance(event, Retracted) and self._attempt:
            run = str(self._messages.run_id)
            data = {"run_id": run, "text": self._attempt, "reason": event.reason}
            self._attempt = ""
            yield CustomEvent(custom_events.RETRACTED, data)
        elif isinstance(event, Done):
            self._result = event.result
            yield self._messages.decision(event.result)
            after = _BREAK if self._said else ""
            yield self._messages.last_chunk(event.result, None if self._attempt else after)
