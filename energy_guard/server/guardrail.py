"""LiteLLM's generic guardrail call: it hands over an answer of any model, and asks what to do.

Questions pass, as what is judged here are answers. LiteLLM sends the question before the model is
asked and the answer afterwards, both with the number of the call: so the question is remembered.
An answer whose question is not known cannot be judged, and is blocked.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any, Final, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from energy_guard.request import Message
from energy_guard.result import Result
from energy_guard.server.asked import turns_of
from energy_guard.server.errors import invalid
from energy_guard.server.schemas import Body, CallForm, Turn

_TURNS: Final[TypeAdapter[tuple[Turn, ...]]] = TypeAdapter(tuple[Turn, ...])
_MOST_QUESTIONS: Final = 512
_MOST_CHARACTERS: Final = 8_000_000

UNKNOWN: Final = "the question of this answer is not known: guard the call before it is made, too"
"""Why an answer is blocked that cannot be judged."""


class LooseCallForm(CallForm):
    """A call of any model, with whatever else its server says of it."""

    model_config = ConfigDict(extra="ignore")


class GuardrailBody(Body):
    """What LiteLLM sends; the rest of it says who asks, and is not read."""

    model_config = ConfigDict(extra="ignore")

    input_type: Literal["request", "response"]
    texts: tuple[str, ...] | None = None
    structured_messages: tuple[dict[str, Any], ...] | None = None
    tool_calls: tuple[LooseCallForm, ...] | None = None
    litellm_call_id: str | None = None

    @property
    def answers(self) -> tuple[str, ...]:
        """The texts of an answer, and its calls as a model writes them."""
        said = tuple(text for text in self.texts or () if text.strip())
        return (*said, *map(_written, self.tool_calls or ()))


class Questions:
    """The latest questions, each under the number of its call; in memory alone."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, tuple[Message, ...]] = OrderedDict()
        self._characters = 0

    def keep(self, body: GuardrailBody, takes_tools: bool) -> None:
        """Remember the question of a call that is about to be made."""
        turns = self._turns_of(body, takes_tools)
        if body.litellm_call_id is None or not turns:
            return
        self._drop(body.litellm_call_id)
        self._turns[body.litellm_call_id] = turns
        self._characters += _size(turns)
        while len(self._turns) > _MOST_QUESTIONS or self._characters > _MOST_CHARACTERS:
            self._drop(next(iter(self._turns)))

    def of(self, body: GuardrailBody, takes_tools: bool) -> tuple[Message, ...]:
        """Return the question of an answer; none if it is not known."""
        told = self._turns_of(body, takes_tools) if body.structured_messages else ()
        return told or self._turns.get(body.litellm_call_id or "", ())

    def _drop(self, number: str) -> None:
        self._characters -= _size(self._turns.pop(number, ()))

    def _turns_of(self, body: GuardrailBody, takes_tools: bool) -> tuple[Message, ...]:
        if body.structured_messages:
            try:
                told = json.dumps([_understood(turn) for turn in body.structured_messages])
                turns = _TURNS.validate_json(told, strict=True)
            except ValidationError as error:
                raise invalid(error) from error
            return turns_of(turns, takes_tools)
        texts = [text for text in body.texts or () if text.strip()]
        return (Message("user", texts[-1]),) if texts else ()


def decision(results: list[Result]) -> dict[str, str]:
    """Return what LiteLLM is to do: nothing, or block the answer.

    A text in its place would be lost in streams, where LiteLLM takes blocks alone.
    """
    for result in results:
        if not result.shown:
            reason = f"{result.text} ({result.unquoted_reason})"
            return {"action": "BLOCKED", "blocked_reason": reason}
    return {"action": "NONE"}


def _understood(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn of another model's chat without what only that model can be shown, or is set by."""
    kept = ("role", "content", "tool_call_id")
    known: dict[str, Any] = {name: turn[name] for name in kept if name in turn}
    if isinstance(turn.get("content"), list):
        parts = [part for part in turn["content"] if isinstance(part, dict)]
        texts = [part for part in parts if part.get("type") == "text"]
        known["content"] = [{"type": "text", "text": part.get("text")} for part in texts]
    calls = turn.get("tool_calls")
    if isinstance(calls, list):
        known["tool_calls"] = [
            {"id": call.get("id"), "function": _function(call)}
            for call in calls
            if isinstance(call, dict)
        ]
    return known


def _function(call: dict[str, Any]) -> dict[str, Any]:
    given = call.get("function")
    function = given if isinstance(given, dict) else {}
    return {name: function.get(name) for name in ("name", "arguments")}


def _written(call: CallForm) -> str:
    name, arguments = json.dumps(call.function.name), call.function.arguments
    return f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'


def _size(turns: tuple[Message, ...]) -> int:
    return sum(len(turn.content) for turn in turns)
