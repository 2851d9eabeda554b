"""A server's answer, whole or in chunks → the steps of a trace, and why it ended.

What is missing or does not fit together is an EngineError: no number is made up here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from energy_guard.backends.remote.full_rows import FullRows, KnownPieces, full_step
from energy_guard.backends.remote.numbers import ListedStep, listed_step
from energy_guard.backends.remote.pieces import Placing
from energy_guard.backends.remote.replies import Said, ServerChoice, ServerReply, WrittenToken
from energy_guard.errors import EngineError

_SETTING: Final = (
    "It has to take `logprobs` and `top_logprobs` (plain completions: `logprobs`). Ollama: a "
    "version from 0.12.11 on. llama-cpp-python: logits_all=True. Others: look for a setting, or "
    "use llama-server or vLLM."
)
_NO_PARSER: Final = (
    "Have the model answer without reasoning, or the server leave it in the text (llama-server: "
    "--reasoning-format none; vLLM: no --reasoning-parser)."
)


class AnswerReading:
    """Reads one answer.

    top: how many likely tokens were asked for in each place. alternatives: how many of them each
    step is to have. rows: what a server told that sends the numbers of whole rows.
    finish_reason, prompt_tokens: None until the server has told them.
    """

    def __init__(self, top: int, alternatives: int, rows: FullRows | None = None) -> None:
        self.finish_reason: Literal["stop", "length"] | None = None
        self.prompt_tokens: int | None = None
        self._completion_tokens: int | None = None
        self._top = top
        self._alternatives = alternatives
        self._rows = rows
        self._placing = Placing() if rows is None else KnownPieces(rows)
        self._listed = 0

    def take(self, found: object) -> Iterator[ListedStep]:
        """Take an answer or a chunk of it, as JSON; yield the steps that are settled by it."""
        reply = ServerReply.read(found)
        if reply.usage is not None:
            self.prompt_tokens = reply.usage.prompt_tokens
            self._completion_tokens = reply.usage.completion_tokens
        if len(reply.choices) > 1 or any(choice.index for choice in reply.choices):
            raise EngineError("the server sent several answers to one question")
        for choice in reply.choices:
            yield from self._read(choice)

    def finish(self) -> Iterator[tuple[ListedStep, bool]]:
        """Yield the steps that are left, each with whether it is an end token.

        Raises:
            EngineError: The answer broke off, its numbers are missing, or they are of another
                text or of another number of tokens.

        """
        if self.finish_reason is None:
            raise EngineError(
                "the server's answer broke off", "Ask again, and look into the server's own log."
            )
        placed, silent = self._placing.finish()
        if self._placing.text_left:
            raise EngineError(
                "the server does not tell the log-probabilities of the last "
                f"{len(self._placing.text_left)} characters that it wrote"
                if self._listed
                else "the server does not tell the log-probabilities of what it writes",
                _SETTING,
            )
        ending = silent[-1:] if self.finish_reason == "stop" else []
        self._check_count(self._listed - len(ending))
        for token, piece in placed:
            yield self._step(token, piece), False
        for token in silent[: len(silent) - len(ending)]:
            if self._rows is None and (token.token.strip() or not token.token):
                raise EngineError(
                    "the server lists a token, and its text has none of it",
                    "Ask without streaming, or use a server that lists the bytes of tokens.",
                )
            yield self._step(token, b""), False  # a blank that was taken off the end
        for token in ending:
            yield self._step(token, b""), True

    def _read(self, choice: ServerChoice) -> Iterator[ListedStep]:
        if self.finish_reason is not None and (choice.said.content or choice.finish_reason):
            raise EngineError("the server's answer goes on after its end")
        said = _plain(choice.said)
        tokens = choice.logprobs.written if choice.logprobs is not None else []
        self._listed += len(tokens)
        self._read_end(choice.finish_reason)
        for token, piece in self._placing.take(tokens, said):
            yield self._step(token, piece)

    def _read_end(self, reason: str | None) -> None:
        if reason is None:
            return
        if reason not in ("stop", "length"):
            raise EngineError(
                f"the server ended the answer for another reason than its end: {reason!r}",
                "Its own filter or a tool call: turn that off, or ask something else.",
            )
        self.finish_reason = reason  # type: ignore[assignment]  # one of the two, as just checked

    def _check_count(self, written: int) -> None:
        """Raise EngineError if the server counted other tokens than it listed.

        Args:
            written: how many it listed, without an end token, which not all servers count.

        """
        counted = self._completion_tokens
        if counted is None or 0 <= counted - written <= (self.finish_reason == "stop"):
            return
        raise EngineError(
            f"the server wrote {counted} tokens, and it tells the log-probabilities of {written}",
            "Ask without streaming, or use another server.",
        )

    def _step(self, token: WrittenToken, piece: bytes) -> ListedStep:
        if self._rows is not None:
            return full_step(token, self._rows, self._alternatives)
        return listed_step(token, piece, top=self._top, alternatives=self._alternatives)


def _plain(said: Said) -> str:
    """The text; EngineError for what stands beside it, to which no numbers belong."""
    if said.refusal:
        raise EngineError(
            "the server itself refuses to answer",
            "Ask something else; or, if a guard stands before the model there, the model behind "
            "it.",
        )
    if said.tool_calls:
        raise EngineError("the server answers with a tool call, which cannot be judged here")
    if said.reasoning or said.reasoning_content:
        raise EngineError("the server takes the reasoning out of the answer's text", _NO_PARSER)
    return said.content or ""
