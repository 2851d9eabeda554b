"""The bodies of requests, as OpenAI has them: what is not listed here is refused.

A field that changes the answer and is passed over in silence would be worse than an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from energy_guard.server.settings import Details, StreamMode

_LARGEST_SEED = 2**32 - 1


class Body(BaseModel):
    """Part of a body: types are as written, and there are no other fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class TextPart(Body):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


Content = str | tuple[TextPart, ...]


class SystemTurn(Body):
    """A message of whoever built the program."""

    role: Literal["system", "developer"]
    content: Content
    name: str | None = None


class UserTurn(Body):
    """A message of the user."""

    role: Literal["user"]
    content: Content
    name: str | None = None


class CalledFunction(Body):
    """Name and arguments of a call, the latter as JSON text."""

    name: str
    arguments: str


class CallForm(Body):
    """A call in an earlier message of the assistant."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantPart(Body):
    """A part of what the assistant said, or the text in its place."""

    type: Literal["text", "refusal"]
    text: str | None = None
    refusal: str | None = None


class AssistantTurn(Body):
    """What the assistant said before; clients send back all that they got, so more is allowed."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["assistant"]
    content: str | tuple[AssistantPart, ...] | None = None
    refusal: str | None = None
    tool_calls: tuple[CallForm, ...] | None = None


class ToolTurn(Body):
    """What a call came to."""

    role: Literal["tool"]
    content: Content
    tool_call_id: str
    name: str | None = None


Turn = Annotated[SystemTurn | UserTurn | AssistantTurn | ToolTurn, Field(discriminator="role")]


class FunctionForm(Body):
    """A function that may be called; `parameters` is a JSON schema."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolForm(Body):
    """A tool: a function."""

    type: Literal["function"]
    function: FunctionForm

    @property
    def form(self) -> dict[str, Any]:
        """The tool as a model is shown it."""
        function = self.function.model_dump(exclude_none=True, exclude={"strict"})
        return {"type": "function", "function": function}


class NamedFunction(Body):
    """The name of a function."""

    name: str


class NamedTool(Body):
    """The tool that has to be called."""

    type: Literal["function"]
    function: NamedFunction


class PlainForm(Body):
    """An answer in plain text."""

    type: Literal["text"]


class JsonObjectForm(Body):
    """An answer that is a JSON object."""

    type: Literal["json_object"]


class NamedSchema(Body):
    """A JSON schema with a name."""

    name: str = "answer"
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class JsonSchemaForm(Body):
    """An answer that is JSON and follows a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


AnswerForm = Annotated[PlainForm | JsonObjectForm | JsonSchemaForm, Field(discriminator="type")]


class StreamOptions(Body):
    """What a stream has beside the text; nothing hides here how long each text is."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class GuardOptions(Body):
    """What is asked of the guard: how much the response tells, and when a stream is let go."""

    details: Details = "summary"
    stream: StreamMode | None = None


class ChatGuardOptions(GuardOptions):
    """What is asked of the guard in a chat, besides.

    signals: each listed token, and each text of a stream, comes with what the guard measured.
    beginning: ids of tokens that the answer begins with, which the model goes on from.
    """

    signals: bool = False
    beginning: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(default=None, min_length=1)


class AnswerBody(Body):
    """What chats and plain completions have in common. The last fields change no answer."""

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0, le=2**31 - 1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    repeat_penalty: float | None = Field(default=None, gt=0, le=10)
    seed: int | None = Field(default=None, ge=0, le=_LARGEST_SEED)
    stop: str | Annotated[tuple[str, ...], Field(max_length=16)] | None = None
    n: int | None = Field(default=None, ge=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    energy_guard: GuardOptions = GuardOptions()
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None

    @model_validator(mode="after")
    def _stream_options_need_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        return self


class ChatBody(AnswerBody):
    """The body of `/v1/chat/completions`."""

    messages: tuple[Turn, ...] = Field(min_length=1, max_length=4096)
    energy_guard: ChatGuardOptions = ChatGuardOptions()
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    response_format: AnswerForm | None = None
    tools: tuple[ToolForm, ...] | None = Field(default=None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if None not in (self.max_tokens, self.max_completion_tokens):
            raise ValueError("give max_completion_tokens or max_tokens, not both")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.energy_guard.signals and not self.logprobs:
            raise ValueError("energy_guard.signals needs logprobs: true")
        formed = self.tools or self.response_format or self.stop or (self.n or 1) > 1
        if self.energy_guard.beginning and formed:
            raise ValueError(
                "energy_guard.beginning goes with none of tools, response_format, stop and n"
            )
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) != len(names):
            raise ValueError("two tools have one name")
        if not names and self.tool_choice not in (None, "none", "auto"):
            raise ValueError("tool_choice needs tools")
        return self


class TextBody(AnswerBody):
    """The body of `/v1/completions`: a text or token ids to continue, or several texts."""

    prompt: (
        str
        | Annotated[tuple[int, ...], Field(min_length=1)]
        | Annotated[tuple[str, ...], Field(min_length=1)]
    )
    logprobs: int | None = Field(default=None, ge=0, le=20)


class ScoreBody(Body):
    """The body of `/v1/score`: a chat or a plain text, and the answer that it got."""

    model: str | None = None
    messages: tuple[Turn, ...] | None = Field(default=None, min_length=1, max_length=4096)
    prompt: str | None = None
    answer: str
    fast: bool = False
    details: Details = "summary"

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.messages is None) == (self.prompt is None):
            raise ValueError("give messages or prompt, one of them")
        return self
