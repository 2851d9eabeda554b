"""What the backends have alike whose engine is an object of this process: one lock, one encoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from energy_guard.backends.base import Backend, PromptSize, Session
from energy_guard.backends.locks import lock_of
from energy_guard.backends.prompt import Codec, PromptEncoder
from energy_guard.request import Request
from energy_guard.trace import SIGNALS


class InProcess(Backend):
    """A backend over an engine that shows whole rows and reads the token ids it is given.

    engine: the object that the lock is of. codec: its vocabulary and chat template. The other
    arguments are those of the backends.
    """

    def __init__(
        self,
        engine: object,
        codec: Codec,
        template_variables: Mapping[str, Any],
        wait_s: float,
    ) -> None:
        self._codec = codec
        self._prompts = PromptEncoder(codec, template_variables)
        self._wait_s = wait_s
        self._lock = lock_of(engine)

    @property
    def exact_signals(self) -> frozenset[str]:
        """All of them."""
        return frozenset(SIGNALS)

    @property
    def takes_tools(self) -> bool:
        """Whether the chat template speaks of tools."""
        return self._prompts.takes_tools

    def notes(self, request: Request) -> tuple[str, ...]:
        """Say in what the prompt is not as it was asked for; see `Backend.notes`."""
        return self._prompts.notes(request)

    def measure(self, request: Request) -> PromptSize:
        """Tokenise the prompt and count; see `Backend.measure`."""
        return self._prompts.measure(request)

    def encode(self, request: Request, answer: str | Sequence[int]) -> tuple[list[int], list[int]]:
        """Return prompt and answer as the token ids that `replay` reads; PromptError if none.

        A text is tokenised once, ids are taken as they are.
        """
        prompt = self._encode(request)
        return prompt, self._prompts.encode_answer(answer, self._codec.context - len(prompt))

    def _encode(self, request: Request) -> list[int]:
        return self._prompts.encode(request)

    @contextmanager
    def session(self, request: Request | None = None) -> Iterator[Session]:
        """Hold the engine; see `Backend.session`."""
        with self._lock.hold(self._wait_s, give_up=lambda: bool(request and request.interrupted)):
            yield self._held()

    @abstractmethod
    def _held(self) -> Session:
        """What is given to whoever holds the engine."""
