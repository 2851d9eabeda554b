"""A Pydantic AI model with a guard over it."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from pydantic_ai import RunContext
from pydantic_ai.exceptions import ModelContextWindowExceededError
from pydantic_ai.messages import (
    FinishReason,
    ModelMessage,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ToolCallPart,
)
from pydantic_ai.models import (
    CompletedStreamedResponse,
    Model,
    ModelRequestParameters,
    StreamedResponse,
    check_allow_model_requests,
)
from pydantic_ai.profiles import InlineDefsJsonSchemaTransformer, ModelProfile
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from energy_guard import Guard, Result
from energy_guard.called import with_calls
from energy_guard.errors import PromptTooLongError
from energy_guard.tools import ReadCalls, read_calls
from pydantic_ai_energy_guard.asked import asked
from pydantic_ai_energy_guard.errors import AnswerWithheldError

_FINISHED: Final[dict[str, FinishReason]] = {"eos": "stop", "stop": "stop", "length": "length"}

_PROFILE: Final = ModelProfile(
    supports_json_schema_output=True,
    # Grammars are made of one schema: what it refers to has to stand in its place.
    json_schema_transformer=InlineDefsJsonSchemaTransformer,
)


class EnergyGuardModel(Model[None]):
    """A model whose answers are judged before an agent gets them.

    An answer that is shown comes as the model wrote it, without its reasoning. One that is
    withheld raises AnswerWithheldError, which is a ModelAPIError: a FallbackModel asks its next
    model then. Verdict, P(wrong), score and limits are in
    `response.provider_details["energy_guard"]`. Structured output and calls of tools that an agent
    requires are held to their schemas by a grammar. Streams begin when the verdict is there.

    guard: with its model and its rules. settings: of Pydantic AI, used unless a run has others.

    >>> import asyncio
    >>> from energy_guard.backends import Scripted
    >>> from pydantic_ai import Agent
    >>> guard = Guard(Scripted.saying([("Par", 0.97), ("is", 0.99)]))
    >>> result = asyncio.run(Agent(EnergyGuardModel(guard)).run("Which city?"))
    >>> result.output, result.response.provider_details["energy_guard"]["verdict"]
    ('Paris', 'accept')
    """

    unsupported_settings = frozenset(
        {"timeout", "parallel_tool_calls", "extra_headers", "extra_body", "max_retries"}
    )

    def __init__(self, guard: Guard, *, settings: ModelSettings | None = None) -> None:
        super().__init__(settings=settings, profile=_PROFILE)
        self.guard = guard

    @property
    def model_name(self) -> str:
        """The model's own name."""
        return self.guard.backend.info.name

    @property
    def system(self) -> str:
        """Pydantic AI's name for where a model runs."""
        return "energy-guard"

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Ask, and return the answer if it is shown.

        A task that is cancelled stops the engine within one token.

        Raises:
            AnswerWithheldError: if the policy withholds the answer.
            ModelContextWindowExceededError: if the prompt is too long for the context.
        """
        check_allow_model_requests()
        settings, params = self.prepare_request(model_settings, model_request_parameters)
        takes_tools = self.guard.backend.takes_tools
        request, rule = asked(messages, settings or {}, params, takes_tools=takes_tools)
        try:
            result = await with_calls(self.guard, rule).aask(request)
        except PromptTooLongError as error:
            raise ModelContextWindowExceededError(self.model_name, str(error)) from error
        if not result.shown:
            raise AnswerWithheldError(result)
        calls = ReadCalls()
        if rule.tools:
            scorer, kept = self.guard.detector, result.kept
            calls = read_calls(result.trace, rule.tools, scorer, rule.forced, kept.asked)
        return _response(result, calls)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Yield the answer as a stream, once it is judged; see `request`."""
        response = await self.request(messages, model_settings, model_request_parameters)
        _, params = self.prepare_request(model_settings, model_request_parameters)
        yield CompletedStreamedResponse(
            response, model_request_parameters=params, replay_events=True
        )


def _response(result: Result, calls: ReadCalls) -> ModelResponse:
    text = calls.text if calls.calls else result.text
    parts: list[ModelResponsePart] = [TextPart(text)] if text else []
    parts += [
        ToolCallPart(call.name, json.dumps(call.arguments), f"call_{uuid.uuid4().hex[:24]}")
        for call in calls.calls
    ]
    finished = _FINISHED.get(result.trace.finish_reason, "error")
    return ModelResponse(
        parts=parts,
        usage=RequestUsage(
            input_tokens=result.trace.prompt_tokens,
            output_tokens=sum(len(attempt.trace) for attempt in result.attempts),
        ),
        model_name=result.model.name,
        provider_name="energy-guard",
        provider_details={"energy_guard": _details(result, calls)},
        finish_reason="tool_call" if calls.calls else finished,
    )


def _details(result: Result, calls: ReadCalls) -> dict[str, Any]:
    """What is said about the answer, without its words: histories are stored and sent on."""
    said = result.to_dict("summary")
    return result.to_dict("none") | {
        "reason": result.unquoted_reason,
        "warning": said["warning"],
        "notes": said["notes"],
        "tool_calls": [_scores(call.detail) for call in calls.calls],
    }


def _scores(detail: dict[str, Any]) -> dict[str, Any]:
    """The name of a call and the score of each of its arguments, without the values."""
    scores = {name: scored["score"] for name, scored in detail["arguments"].items()}
    return {"name": detail["name"], "arguments": scores}
