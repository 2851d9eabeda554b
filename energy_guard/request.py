"""What is asked of a backend, and the events that come back while it works.

Public, as every name in `__all__`: integrations build on them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from numbers import Integral, Real
from typing import Annotated, Any, Final, Literal, Self, TypedDict, Unpack

from pydantic import AllowInfNan, Field

from energy_guard.arguments import Filled, NotNegative, Positive, Share, check_fields, checked
from energy_guard.errors import InputError, PromptError
from energy_guard.trace import FinishReason, Step, Trace

__all__ = [
    "CancelToken",
    "Event",
    "Finished",
    "Grammar",
    "JsonSchema",
    "Message",
    "Partition",
    "Request",
    "RequestOptions",
    "Role",
    "Sampling",
    "Token",
    "ToolCall",
    "check_template_variables",
    "check_text",
]

Role = Literal["system", "user", "assistant", "tool"]
"""Whose turn of a chat it is."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model called, with its arguments as JSON text.

    >>> ToolCall("weather", '{"city": "Paris"}').name
    'weather'
    """

    name: str
    arguments: str

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat.

    Attributes:
        role: Whose turn it is.
        content: What is said in it.
        calls: What the assistant called in this turn. Calls and results of tools need a chat
            template that knows them, see `Backend.takes_tools`.
        name: The function that a `tool` turn is the result of.

    >>> Message("user", "What is the capital of France?").role
    'user'
    """

    role: Role
    content: str
    _: KW_ONLY
    calls: tuple[ToolCall, ...] = ()
    name: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)


MAX_SEED: Final = 2**32 - 1
"""The largest that both engines take as it is: llama.cpp counts seeds in 32 bits."""

_Penalty = Annotated[float, Field(ge=-2, le=2)]
"""The range of OpenAI's interface; below 0 it rewards a token for having been said."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn from processed rows; the signals always come from the raw ones.

    Names and defaults are llama.cpp's.

    Attributes:
        temperature: What logits are divided by; 0 takes the likeliest token each time.
        top_k: How many of the likeliest tokens are kept; 0 or -1 keeps all.
        top_p: The likeliest tokens are kept until they have this much of the probability.
        min_p: Tokens are kept that have at least this share of the likeliest one's probability.
        typical_p: Tokens of typical surprise are kept until they have this much of the probability.
        repeat_penalty: What the logits of recent tokens are divided by; 1 changes nothing.
        frequency_penalty: What is taken off a logit for each time that its token was said.
        presence_penalty: What is taken off a logit if its token was said at all.
        mirostat_mode: 0 for none, or version 1 or 2 of mirostat.
        mirostat_tau: The surprise that mirostat aims at.
        mirostat_eta: How fast mirostat adapts.
        logit_bias: What is added to the logits of token ids; -inf bans a token.
        seed: Makes the draws repeatable, 0 to `MAX_SEED`; None draws a fresh seed.

    Raises:
        InputError: If a value is no number in its range, or a bias is not keyed by ids.

    >>> Sampling(temperature=0.8, seed=7).top_k
    40
    """

    temperature: NotNegative = 0.0
    _: KW_ONLY
    top_k: Annotated[int, Field(ge=-1)] = 40
    top_p: Share = 0.95
    min_p: Share = 0.05
    typical_p: Share = 1.0
    repeat_penalty: Positive = 1.0
    frequency_penalty: _Penalty = 0.0
    presence_penalty: _Penalty = 0.0
    mirostat_mode: Annotated[int, Field(ge=0, le=2)] = 0
    mirostat_tau: NotNegative = 5.0
    mirostat_eta: NotNegative = 0.1
    logit_bias: Mapping[int, Annotated[float, AllowInfNan()]] = field(default_factory=dict)
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "logit_bias", _biases(self.logit_bias))
        check_fields(self)


def _biases(given: object) -> dict[int, float]:
    """The bias of each token; InputError for what an engine would pass over, or fail of."""
    if not isinstance(given, Mapping):
        raise InputError("logit_bias is no mapping", "Give {token id: bias}.")
    for token, value in given.items():
        if isinstance(token, bool) or not isinstance(token, Integral):
            raise InputError(
                f"logit_bias is keyed by {token!r}, which is no token id",
                "Give {token id: bias}, with ids as integers; a text may have several tokens.",
            )
        if not isinstance(value, Real) or not -math.inf <= float(value) < math.inf:
            raise InputError(
                f"the logit_bias of token {token} is {value!r}",
                "Give a number, or -inf to ban the token.",
            )
    return {int(token): float(value) for token, value in given.items()}


@dataclass(frozen=True, slots=True)
class Grammar:
    """Constrains the answer to a grammar in llama.cpp's GBNF.

    >>> Grammar('root ::= "yes" | "no"').gbnf
    'root ::= "yes" | "no"'
    """

    gbnf: Filled

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """Constrains the answer to JSON that follows a schema (the schema itself as JSON text).

    >>> JsonSchema('{"type": "object"}').schema
    '{"type": "object"}'
    """

    schema: Filled

    def __post_init__(self) -> None:
        check_fields(self)


class CancelToken:
    """Stops a generation from any thread, while the prompt is read too; the engine stays usable.

    A token with a `parent` is cancelled with it. reason: what the trace says about its end.

    >>> token = CancelToken()
    >>> token.cancel()
    >>> token.reason
    'cancelled'
    """

    @checked
    def __init__(self, parent: CancelToken | None = None) -> None:
        self._parent = parent
        self._reason: FinishReason | None = None

    @checked
    def cancel(self, reason: Literal["cancelled", "stopped"] = "cancelled") -> None:
        """Ask the generation to end before its next token."""
        self._reason = self._reason or reason

    @property
    def reason(self) -> FinishReason | None:
        """Why it was cancelled; None while it is not."""
        return self._reason or (self._parent.reason if self._parent else None)

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called, here or on the parent."""
        return self.reason is not None


class RequestOptions(TypedDict, total=False):
    """What may be set of a request besides its prompt; `Request` says what each option means.

    Type checkers find a name that is misspelt, and values of another type.
    """

    context: Sequence[str]
    choices: Sequence[str]
    tools: Sequence[str]
    template_variables: Mapping[str, Any]
    sampling: Sampling
    constraint: Grammar | JsonSchema | None
    stop: Sequence[str]
    max_tokens: int
    deadline: float | None
    cancel: CancelToken | None
    inverse_temperature: float
    alternatives: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One thing to ask: a chat, a plain text to continue, or token ids. Exactly one of the three.

    Attributes:
        messages: The turns of a chat.
        text: A plain text to continue.
        ids: Token ids to continue.
        context: Passages that the answer should rest on, put before the last user message.
        choices: Labels among which the answer is.
        tools: Functions that the chat template shows to the model, each as JSON text in OpenAI's
            form.
        template_variables: What the chat template may ask for besides, such as `enable_thinking`;
            they count more than those of `load`.
        alternatives: How many of the likeliest tokens the trace has in each place.
        sampling: How tokens are drawn.
        constraint: What the answer has to follow: a grammar, or a JSON schema.
        stop: Texts that end the answer, which they are no part of.
        max_tokens: How many tokens the answer has at most.
        deadline: When there is no point in going on, as `time.monotonic()` counts, in seconds.
        cancel: Stops the answer from any thread.
        inverse_temperature: β, which multiplies every row before its signals are computed.

    Raises:
        PromptError: If the prompt is empty or not valid text.
        InputError: If it is not exactly one of the three, or a setting is out of its range.

    >>> Request.chat("What is 2 + 2?", max_tokens=8).question
    'What is 2 + 2?'
    """

    messages: tuple[Message, ...] | None = None
    text: str | None = None
    ids: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    context: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    alternatives: Annotated[int, Field(ge=0)] = 0
    sampling: Sampling = field(default_factory=Sampling)
    constraint: Grammar | JsonSchema | None = None
    stop: tuple[str, ...] = ()
    max_tokens: Annotated[int, Field(ge=1)] = 256
    deadline: NotNegative | None = None
    cancel: CancelToken | None = None
    inverse_temperature: Positive = 1.0

    def __post_init__(self) -> None:
        for name in _LISTS:
            object.__setattr__(self, name, _listed(getattr(self, name)))
        for name in ("context", "choices", "stop", "tools"):  # one text is one
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else value)
        check_fields(self)
        given = [p for p in (self.messages, self.text, self.ids) if p is not None]
        if len(given) != 1:
            raise InputError("a request needs exactly one of messages, text and ids")
        last = self.messages[-1].content if self.messages else given[0]
        if self.messages and self.messages[-1].role == "tool":
            last = last or "no result"  # of a function that returns nothing
        if not (last.strip() if isinstance(last, str) else last):
            raise PromptError("the prompt is empty", "Ask something.")
        for text in self._texts():
            check_text(text)
        check_template_variables(self.template_variables)
        if "" in (*self.stop, *self.choices):
            raise InputError("a stop string or choice is empty", "Leave it out, or give its text.")

    def _texts(self) -> list[str]:
        parts = [message.content for message in self.messages or ()]
        return [*parts, self.text or "", *self.context, *self.choices, *self.stop, *self.tools]

    @classmethod
    @checked
    def chat(cls, question: str | Sequence[Message], **options: Unpack[RequestOptions]) -> Self:
        """Make a chat request.

        Args:
            question: One question, or all turns so far.
            options: The other attributes of the request.

        Raises:
            PromptError: If the prompt is empty or not valid text.
            InputError: If a setting is out of its range.

        """
        turns = (Message("user", question),) if isinstance(question, str) else question
        # Lists become tuples as the request is made; its fields are declared as they are then.
        return cls(messages=turns, **options)  # type: ignore[arg-type]

    @classmethod
    @checked
    def raw(cls, text: str, **options: Unpack[RequestOptions]) -> Self:
        """Make a request for a plain completion, without a chat template.

        Args:
            text: What is to be continued.
            options: The other attributes of the request.

        Raises:
            PromptError: If the text is empty or not valid.
            InputError: If a setting is out of its range.

        """
        return cls(text=text, **options)  # type: ignore[arg-type]

    @property
    def question(self) -> str:
        """What was asked: the last user message or the raw text; empty for token ids."""
        users = [m.content for m in self.messages or () if m.role == "user"]
        return users[-1] if users else self.text or ""

    @property
    def mode(self) -> Literal["chat", "raw"]:
        """Whether a chat template is applied."""
        return "raw" if self.messages is None else "chat"

    @property
    def interrupted(self) -> FinishReason | None:
        """Why there is no point in going on: cancelled, stopped or out of time; None if none."""
        if self.cancel is not None and self.cancel.reason is not None:
            return self.cancel.reason
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return "deadline"
        return None

    @property
    def system_prompt(self) -> str | None:
        """What the role `system` says in the chat; "" if nothing, None if it is no chat."""
        if self.messages is None:
            return None
        return "\n".join(m.content for m in self.messages if m.role == "system")

    def turns(self) -> tuple[Message, ...]:
        """Return the chat with the context passages put before its last user message.

        Raises:
            InputError: If there are passages and no user message.

        """
        turns = self.messages or ()
        if not self.context:
            return turns
        at = max((i for i, m in enumerate(turns) if m.role == "user"), default=None)
        if at is None:
            raise InputError("context passages need a user message to stand before")
        passages = "\n\n".join(f"[{i}] {text}" for i, text in enumerate(self.context, 1))
        asked = Message("user", f"{passages}\n\n{turns[at].content}")
        return (*turns[:at], asked, *turns[at + 1 :])


_LISTS: Final = ("messages", "ids", "context", "choices", "stop", "tools")


def _listed(value: object) -> object:
    """A tuple of what is any kind of list; whatever else it is, as it is."""
    if value is None or type(value) is tuple:
        return value
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return value
    return tuple(value)


@checked
def check_template_variables(variables: Mapping[str, Any]) -> None:
    """Raise InputError for variables of a chat template that it cannot be given.

    >>> check_template_variables({"enable_thinking": False})
    """
    own = variables.keys() & {"messages", "tools", "add_generation_prompt"}
    if own:
        raise InputError(
            f"template_variables: {', '.join(sorted(own))} cannot be set here",
            "Turns and tools are parts of the request.",
        )
    try:
        json.dumps(dict(variables))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"template_variables are values that JSON has, and these are not: {error}"
        ) from error


@checked
def check_text(text: str) -> None:
    """Raise PromptError if the text cannot be UTF-8: half a surrogate pair, broken input."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"the text is not valid UTF-8 (at character {error.start})",
            "Save or paste it as UTF-8 and try again.",
        ) from error


@dataclass(frozen=True, slots=True)
class Token:
    """A token was chosen; `step` has the numbers of the row that chose it.

    ends: it is the model's end token, which is no content even if its piece is plain text.
    """

    sequence: int
    step: Step
    _: KW_ONLY
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Partition:
    """The row after token `t` has come: its log-partition and mean, one step late by nature."""

    sequence: int
    t: int
    log_partition: float
    row_mean: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The sequence is complete; `trace` has all of it."""

    sequence: int
    reason: FinishReason
    trace: Trace


Event = Token | Partition | Finished
"""Whatever a backend yields while it writes."""
