"""A chat: what was asked and answered, and what of it the model still sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from energy_guard.backends import Backend
from energy_guard.request import CancelToken, Message, Request
from energy_guard.result import Result
from energy_guard.trace import SCHEMA


@dataclass(frozen=True, eq=False, slots=True)
class Exchange:
    """One question with its outcome."""

    question: str
    result: Result

    @property
    def stopped(self) -> bool:
        """Whether somebody cancelled the answer while it was written."""
        return self.result.attempts[-1].trace.finish_reason == "cancelled"

    def turns(self) -> tuple[Message, Message]:
        """What the model sees of it later; a warned answer stands without its warning."""
        return Message("user", self.question), Message("assistant", self.result.text)


class Conversation:
    """The exchanges of a chat, and those among them that the model still sees.

    settings: a chat request; its system prompt begins every prompt, and its settings serve for
    every question. Remembered is what was shown. A withheld answer is not, nor is its question:
    the model would build on the answer, or copy the abstention, which then looks sure of itself
    (docs/log.md). The oldest exchanges are forgotten where the context is full.

    >>> from energy_guard.backends import Scripted
    >>> chat = Conversation(Scripted.saying(), Request.chat("?", max_tokens=8))
    >>> request, forgotten = chat.next_request("What is the capital of France?")
    >>> request.max_tokens, request.question, forgotten
    (8, 'What is the capital of France?', 0)
    """

    def __init__(self, backend: Backend, settings: Request) -> None:
        self.exchanges: list[Exchange] = []
        self.remembered: list[Exchange] = []
        self._backend = backend
        self._settings = settings
        self._system = tuple(m for m in settings.messages or () if m.role == "system")

    @property
    def context(self) -> int:
        """How many tokens prompt and answer may have together."""
        return self._backend.measure(self._settings).context

    def next_request(self, question: str, cancel: CancelToken | None = None) -> tuple[Request, int]:
        """Return the request that asks `question` next, and how many exchanges it forgets.

        As many of the oldest as it takes to leave room for `max_tokens` (for half a context at
        the most). A prompt that is too long by itself is left to the backend to refuse, and
        nothing is forgotten for it.
        """
        for count in range(len(self.remembered) + 1):
            request = self._request(question, self.remembered[count:], cancel)
            size = self._backend.measure(request)
            if size.room >= min(request.max_tokens, size.context // 2):
                break
        if size.room < 1:
            return request, 0
        del self.remembered[:count]
        return request, count

    def add(self, question: str, result: Result) -> Exchange:
        """Take in what came of a question; it is remembered where the answer was shown."""
        exchange = Exchange(question, result)
        self.exchanges.append(exchange)
        if result.shown and not exchange.stopped:
            self.remembered.append(exchange)
        return exchange

    def to_dict(self) -> dict[str, Any]:
        """Return everything that was said, each result as --json prints it."""
        return {
            "schema": SCHEMA,
            "system": "\n\n".join(m.content for m in self._system) or None,
            "exchanges": [
                {
                    "question": exchange.question,
                    "remembered": exchange in self.remembered,
                    "result": exchange.result.to_dict(),
                }
                for exchange in self.exchanges
            ],
        }

    def _request(
        self, question: str, earlier: Sequence[Exchange], cancel: CancelToken | None
    ) -> Request:
        turns = [turn for exchange in earlier for turn in exchange.turns()]
        messages = (*self._system, *turns, Message("user", question))
        return replace(self._settings, messages=messages, cancel=cancel)
