"""One model of `llm` with a guard over it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Final, cast

import llm
from llm.parts import Message as Turn
from llm.parts import StreamEvent, TextPart
from pydantic import Field

from energy_guard import Guard, Message, Policy, Request, Result, Sampling, load
from energy_guard.errors import EnergyGuardError, InputError
from energy_guard.request import JsonSchema, Role
from energy_guard.tools import instructed, schema_told

_KEY: Final = "energy_guard"

_ROLES: Final[dict[str, Role]] = {"system": "system", "user": "user", "assistant": "assistant"}


class AnswerWithheldError(EnergyGuardError):
    """The policy withholds an answer that has to follow a schema: no text can stand for it."""


class EnergyGuardModel(llm.Model):
    """A model whose answers are judged before `llm` gets them.

    An answer that is withheld is replaced by the policy's abstention. The verdict, P(wrong), the
    score and the limits are the response's JSON, which `llm logs --json` has as well. A withheld
    answer and its question are left out of what the model is told later in the conversation.

    name: what stands after `energy-guard/`. model: anything that `energy_guard.load` takes; it
    is loaded at the first question.
    """

    can_stream = False
    supports_schema = True

    class Options(llm.Options):
        """What `-o` sets."""

        max_tokens: Annotated[int, Field(ge=1)] = 256
        temperature: Annotated[float, Field(ge=0)] = 0.0
        seed: Annotated[int, Field(ge=0)] | None = None
        policy: str | None = Field(default=None, description="A file with rules, TOML or JSON.")

    def __init__(self, name: str, model: object) -> None:
        self.model_id = f"energy-guard/{name}"
        self._model = model

    @cached_property
    def _backend(self) -> object:
        return load(self._model)

    def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,
        response: llm.Response,
        conversation: llm.Conversation | None,
    ) -> Iterator[StreamEvent]:
        """Ask, and yield the answer or what is shown in its place, in one piece.

        Raises:
            AnswerWithheldError: if the answer has to follow a schema and is withheld.
        """
        options = cast(EnergyGuardModel.Options, prompt.options)
        policy = None if options.policy is None else Policy.read(options.policy)
        told = _turns(prompt.messages)
        constraint = None
        if prompt.schema is not None:
            constraint = JsonSchema(json.dumps(prompt.schema))
            told = instructed(told, schema_told(constraint.schema))
        request = Request(
            messages=told,
            sampling=Sampling(temperature=options.temperature, seed=options.seed),
            constraint=constraint,
            max_tokens=options.max_tokens,
        )
        result = Guard(self._backend, policy).ask(request)
        response.response_json = {_KEY: _details(result)}
        response.set_usage(
            input=result.trace.prompt_tokens,
            output=sum(len(attempt.trace) for attempt in result.attempts),
        )
        if constraint is not None and not result.shown:
            raise AnswerWithheldError(f"the answer is withheld: {result.unquoted_reason}")
        yield StreamEvent(
            type="text", chunk=result.text, provider_metadata={_KEY: {"shown": result.shown}}
        )


def _details(result: Result) -> dict[str, Any]:
    """What is said about the answer, without its words: `llm` keeps it in its log."""
    said = result.to_dict("summary")
    return result.to_dict("none") | {
        "reason": result.unquoted_reason,
        "warning": said["warning"],
        "notes": said["notes"],
    }


def _turns(messages: list[Turn]) -> tuple[Message, ...]:
    """The chat without the exchanges whose answer was withheld."""
    turns: list[Message] = []
    for message in messages:
        if message.role == "assistant" and _withheld(message):
            while turns and turns[-1].role == "user":
                turns.pop()
        elif message.role in _ROLES:
            turns.append(Message(_ROLES[message.role], _text(message)))
        else:
            raise InputError(f"a chat template has no place for a turn of {message.role!r}")
    return tuple(turns)


def _withheld(message: Turn) -> bool:
    marks = [part.provider_metadata or {} for part in message.parts if isinstance(part, TextPart)]
    return any(mark.get(_KEY, {}).get("shown") is False for mark in marks)


def _text(message: Turn) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))
