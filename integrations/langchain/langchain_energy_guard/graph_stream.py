"""The guard's custom events in LangGraph's event streams of version 3."""

from __future__ import annotations

from typing import Any, ClassVar

from energy_guard.extras import needs_extra
from langchain_energy_guard.custom_events import PREFIX

with needs_extra("agents"):
    from langgraph.stream import ProtocolEvent, StreamChannel, StreamTransformer


class GuardEvents(StreamTransformer):
    """Gives a run `extensions["energy_guard"]`, the events of its guards as they come.

    Such a stream has custom events only if somebody asks for them: this does.
    """

    required_stream_modes: ClassVar[tuple[str, ...]] = ("custom",)

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        super().__init__(scope)
        self._events: StreamChannel[dict[str, Any]] = StreamChannel()

    def init(self) -> dict[str, Any]:
        """Return the channel under the name that the run has it by."""
        return {"energy_guard": self._events}

    def process(self, event: ProtocolEvent) -> bool:
        """Hand an event of a guard on; all of them stay in the whole stream as well."""
        params = event["params"]
        if event["method"] == "custom" and params["namespace"] == list(self.scope):
            data = params["data"]
            if isinstance(data, dict) and str(data.get("event")).startswith(PREFIX):
                self._events.push(data)
        return True
