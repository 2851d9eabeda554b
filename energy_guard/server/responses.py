"""Whole responses, and the chunks of streams: both are made of the same choices."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from energy_guard.server.answers import KEY, AnswerChoice, listed_logprobs, usage, worst
from energy_guard.server.asked import Wanted

DONE: Final = b"data: [DONE]\n\n"
"""What OpenAI's streams end with."""

PING: Final = b": waiting\n\n"
"""A comment: readers of streams pass over it, and nobody in between takes the line for dead."""


def event(data: dict[str, Any]) -> bytes:
    """Return one event of a stream."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


@dataclass(frozen=True)
class Envelope:
    """What all parts of one response have in common.

    model: what clients call it. refusal_as_content: see `ServerSettings`.
    """

    model: str
    fingerprint: str
    wanted: Wanted
    refusal_as_content: bool = False
    created: int = field(default_factory=lambda: int(time.time()))
    number: str = field(default_factory=lambda: uuid.uuid4().hex[:24])

    def whole(self, choices: Sequence[AnswerChoice]) -> dict[str, Any]:
        """Return the response to a request that is not streamed."""
        listed_choices = [
            {
                "index": index,
                "finish_reason": choice.finish_reason,
                "logprobs": choice.logprobs(self.wanted),
                **self._said(choice),
            }
            for index, choice in enumerate(choices)
        ]
        return self._head("chat.completion") | {
            "choices": listed_choices,
            "usage": usage(choices, self.wanted.copies),
            KEY: worst(choices).told,
        }

    def first(self, index: int) -> bytes:
        """Return the first chunk of a choice."""
        return self._chunk(index, {"role": "assistant", "content": ""})

    def text(
        self,
        index: int,
        text: str,
        logprobs: dict[str, Any] | None = None,
        told: dict[str, Any] | None = None,
    ) -> bytes:
        """Return a chunk with text.

        Args:
            index: of the choice.
            text: what is added to it.
            logprobs: of its tokens, if they are listed with it.
            told: what the guard says of a text that is still being written.
        """
        return self._chunk(index, {"content": text}, logprobs, told=told)

    def retracted(self, index: int, attempt: int) -> bytes:
        """Return a chunk that says that the text so far is not the answer."""
        return self._chunk(index, {}, told={"event": "retracted", "attempt": attempt})

    def pieces(self, index: int, choice: AnswerChoice) -> Iterator[bytes]:
        """Yield an answer that is judged, piece by piece."""
        start = 0
        for piece in choice.pieces:
            entries = choice.listed(piece) if self.wanted.logprobs else None
            if entries is None:
                yield self.text(index, piece.text)
                continue
            yield self.text(index, piece.text, listed_logprobs(entries, self.wanted.chat, start))
            start += sum(len(entry["token"]) for entry in entries)
        if not choice.pieces and choice.content:  # what stands beside calls
            yield self.text(index, choice.content)

    def last(self, index: int, choice: AnswerChoice, *, tokens: bool) -> Iterator[bytes]:
        """Yield what ends a choice: a refusal or calls, and the chunk with the verdict.

        Args:
            index: of the choice.
            choice: the answer.
            tokens: whether the tokens have not been listed before.
        """
        if choice.refusal is not None:
            delta: dict[str, Any] = {"refusal": choice.refusal}
            if self.refusal_as_content:
                delta["content"] = choice.refusal
            yield self._chunk(index, delta)
        if choice.calls:
            calls = [{"index": i} | call for i, call in enumerate(choice.calls)]
            yield self._chunk(index, {"tool_calls": calls})
        entries = choice.token_list() if tokens and self.wanted.logprobs else None
        logprobs = listed_logprobs(entries, self.wanted.chat) | {KEY: choice.told}
        yield self._chunk(index, {}, logprobs, finish_reason=choice.finish_reason, told=choice.told)

    def counted(self, choices: Sequence[AnswerChoice]) -> bytes:
        """Return the chunk with the number of tokens."""
        counts = usage(choices, self.wanted.copies)
        return event(self._head("chat.completion.chunk") | {"choices": [], "usage": counts})

    def _said(self, choice: AnswerChoice) -> dict[str, Any]:
        if self.wanted.chat:
            return {"message": choice.message(self.refusal_as_content)}
        text = choice.refusal if self.refusal_as_content and choice.refusal else choice.content
        return {"text": text or "", "refusal": choice.refusal}

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        logprobs: dict[str, Any] | None = None,
        *,
        finish_reason: str | None = None,
        told: dict[str, Any] | None = None,
    ) -> bytes:
        choice: dict[str, Any] = {"index": index, "finish_reason": finish_reason}
        choice["logprobs"] = logprobs
        if self.wanted.chat:
            choice["delta"] = delta
        else:
            choice["text"] = delta.get("content", "")
            if "refusal" in delta:
                choice["refusal"] = delta["refusal"]
        data = self._head("chat.completion.chunk") | {"choices": [choice]}
        if self.wanted.usage:
            data["usage"] = None
        return event(data if told is None else data | {KEY: told})

    def _head(self, kind: str) -> dict[str, Any]:
        chat = self.wanted.chat
        return {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{self.number}",
            "object": kind if chat else "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }
