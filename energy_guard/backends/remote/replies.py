"""The JSON that servers answer with, as far as it is read here; whatever else is an EngineError."""

from __future__ import annotations

from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from energy_guard.errors import EngineError


class _Part(BaseModel):
    """Part of an answer: types are as written, and what is not listed is passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class ListedToken(_Part):
    """A token with its log-probability, in nats; a server may leave its bytes out."""

    token: str
    logprob: float | None
    bytes: list[int] | None = None


class WrittenToken(ListedToken):
    """A token of the answer, with those that were likely in its place."""

    top_logprobs: list[ListedToken] | None = None


class TokenList(_Part):
    """The tokens of an answer, in the form of chats or in the older one of plain completions."""

    content: list[WrittenToken] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None

    @property
    def written(self) -> list[WrittenToken]:
        """All tokens in the form of chats; EngineError if the lists are not of one length."""
        if self.content is not None or self.tokens is None:
            return self.content or []
        count = len(self.tokens)
        logprobs = self.token_logprobs or [None] * count
        tops = self.top_logprobs or [None] * count
        if not len(logprobs) == len(tops) == count:
            raise EngineError(
                f"the server lists {count} tokens with {len(logprobs)} log-probabilities",
                "This server's answers cannot be judged: use another one, or a newer version.",
            )
        return [
            WrittenToken(
                token=token,
                logprob=logprob,
                top_logprobs=[
                    ListedToken(token=other, logprob=value) for other, value in (top or {}).items()
                ],
            )
            for token, logprob, top in zip(self.tokens, logprobs, tops, strict=True)
        ]


class Said(_Part):
    """A message, or a piece of one."""

    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[object] | None = None


class PromptNumber(_Part):
    """What vLLM tells of one token that might stand in a place of a prompt."""

    logprob: float | None


class ServerChoice(_Part):
    """One answer, or a piece of one: a message, a piece of it, or plain text.

    prompt_token_ids, prompt_logprobs: vLLM's, if they are asked for.
    """

    index: int = 0
    message: Said | None = None
    delta: Said | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: TokenList | None = None
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: list[dict[str, PromptNumber] | None] | None = None

    @property
    def said(self) -> Said:
        """What is said in it, in whatever form."""
        return self.message or self.delta or Said(content=self.text)


class TokenCounts(_Part):
    """How many tokens a server counted."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class ServerReply(_Part):
    """An answer, or one chunk of a stream; of a chat it may have the ids of the prompt."""

    choices: list[ServerChoice]
    usage: TokenCounts | None = None
    prompt_token_ids: list[int] | None = None

    @classmethod
    def read(cls, found: object) -> Self:
        """Read what a server sent; EngineError if it is something else."""
        return _read(cls, found, "an answer")


class ListedModel(_Part):
    """A model that a server has; owned_by is what it calls itself, or the model's maker."""

    id: str
    owned_by: str | None = None


class ModelList(_Part):
    """The models that a server has."""

    data: list[ListedModel]

    @classmethod
    def read(cls, found: object) -> Self:
        """Read what a server sent; EngineError if it is something else."""
        return _read(cls, found, "a list of models")


class FullRowServer(_Part):
    """What vLLM with our extension tells of itself; pieces: the bytes of tokens, in hexadecimal."""

    context: int
    engine: dict[str, bool | int | float | str | None]
    pieces: list[str]

    @classmethod
    def read(cls, found: object) -> Self:
        """Read what a server sent; EngineError if it is something else."""
        return _read(cls, found, "what it is")


P = TypeVar("P", bound=_Part)


def _read(kind: type[P], found: object, what: str) -> P:
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"])) or "all of it"
        raise EngineError(
            f"the server sent something else than {what} ({where}: {wrong['msg']})",
            "Is this the address of an OpenAI interface? It mostly ends in /v1.",
        ) from error
