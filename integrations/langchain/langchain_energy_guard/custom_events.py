"""The custom events: their names, what they carry, and how they are sent.

They show in `astream_events`, reach every handler's `on_custom_event`, and are in the `custom`
stream of a LangGraph that runs around. To LangChain a custom event belongs to the run around the
model, so that a model that is called without a chain has none.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langchain_core.runnables.config import ensure_config, get_callback_manager_for_config

from energy_guard import Result
from energy_guard.decide import Again, Move
from langchain_energy_guard.errors import AnswerRetryError, AnswerWithheldError

PREFIX: Final = "energy_guard_"
"""What the names of all of them begin with."""

DECISION: Final = "energy_guard_decision"
"""An attempt was judged: every attempt has one, a retry that is demanded included."""

RETRACTED: Final = "energy_guard_retracted"
"""Text that was streamed is not the answer."""

PROGRESS: Final = "energy_guard_progress"
"""An answer that is held is being written."""

RETRY: Final = "energy_guard_retry"
"""`guarded` asks again."""

FALLBACK: Final = "energy_guard_fallback"
"""`guarded` asks the fallback."""

ABSTAINED: Final = "energy_guard_abstained"
"""`guarded` gives the abstention in the place of the answer."""

Payload = dict[str, Any]
"""JSON-able."""


@dataclass(frozen=True)
class CustomEvent:
    """A custom event to send."""

    name: str
    data: Payload


@dataclass
class Progress:
    """How far an answer that is held has come. attempt: its number, from 1 on."""

    run_id: object
    attempt: int = 0
    tokens: int = 0

    def begin(self) -> None:
        """Begin the next attempt."""
        self.attempt, self.tokens = self.attempt + 1, 0

    def event(self) -> CustomEvent:
        """PROGRESS: no word of the answer, only how long it is by now."""
        data = {"run_id": str(self.run_id), "attempt": self.attempt, "tokens": self.tokens}
        return CustomEvent(PROGRESS, data)


def decision(result: Result, move: Move | None, run_id: object) -> CustomEvent:
    """DECISION; its `move` is a verdict, or "retry" with the changes demanded.

    move: None if the result is final.

    attempt: the number of this attempt. kept: of the least risky one so far, whose score, span
    and reason these are. No answer is quoted, whether it is shown or not: a graph's stream goes to
    browsers, past whatever takes words out of messages.
    """
    again = move if isinstance(move, Again) else None
    shown = result.shown and again is None
    reason = result.unquoted_reason
    data = {
        "run_id": str(run_id),
        "move": "retry" if again else result.verdict,
        "shown": shown,
        "reason": f"withheld: {reason}" if again else reason,
        "p_wrong": _finite(result.p_wrong),
        "p_wrong_from": result.p_wrong_from,
        "calibrated": result.calibrated,
        "score": _finite(result.score),
        "detector": result.detector,
        "span": result.span and {"start": result.span.start, "end": result.span.end},
        "attempt": len(result.attempts),
        "kept": 1 + [attempt is result.kept for attempt in result.attempts].index(True),
        "finish_reason": result.attempts[-1].trace.finish_reason,
        "tokens_saved": result.attempts[-1].tokens_saved,
        "changes": again and _changes(again, result),
    }
    return CustomEvent(DECISION, data)


def retracted(characters: int, reason: str, run_id: object) -> CustomEvent:
    """RETRACTED: so many of the last characters are not the answer, and why.

    Who has streamed them knows the words; nobody else is to hear them.
    """
    data = {"run_id": str(run_id), "characters": characters, "reason": reason}
    return CustomEvent(RETRACTED, data)


def retry(error: AnswerRetryError) -> CustomEvent:
    """RETRY; its `attempt` is the number of the one that was withheld."""
    result = error.result
    data = {
        "attempt": len(result.attempts),
        "reason": f"withheld: {result.unquoted_reason}",
        "changes": _changes(error.again, result),
    }
    return CustomEvent(RETRY, data)


def ended(error: AnswerWithheldError, asks_fallback: bool) -> CustomEvent:
    """FALLBACK or ABSTAINED: no attempt is made any more."""
    result = error.result
    data = {
        "verdict": result.verdict,
        "reason": result.unquoted_reason,
        "attempts": len(result.attempts),
    }
    return CustomEvent(FALLBACK if asks_fallback else ABSTAINED, data)


def dispatch(event: CustomEvent) -> None:
    """Send an event from the run around; nobody can hear it if there is none."""
    to_graph(event)
    if _heard():
        dispatch_custom_event(event.name, event.data)


async def adispatch(event: CustomEvent) -> None:
    """Send an event as `dispatch` does."""
    to_graph(event)
    if _heard():
        await adispatch_custom_event(event.name, event.data)


def to_graph(event: CustomEvent) -> None:
    """Write an event into the `custom` stream of the LangGraph around, if there is one."""
    langgraph: Any = sys.modules.get("langgraph.config")
    if langgraph is None:
        return
    try:
        write = langgraph.get_stream_writer()
    except (KeyError, RuntimeError):  # no graph runs here
        return
    write({"event": event.name, "data": event.data})


def _changes(again: Again, result: Result) -> Payload:
    """The changes of a retry, as RETRY and DECISION carry them: the feedback as in the policy."""
    asked = again.changes
    return {
        "temperature": asked.temperature,
        "fresh_seed": asked.fresh_seed,
        "feedback": asked.feedback and result.policy.feedback_text,
        "fallback": asked.fallback,
    }


def _heard() -> bool:
    return get_callback_manager_for_config(ensure_config()).parent_run_id is not None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
