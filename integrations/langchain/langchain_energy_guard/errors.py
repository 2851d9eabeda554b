"""What this package raises on purpose, beside the errors of `energy_guard.errors`.

EnergyGuardError
├── PromptOverflowError      a prompt that is too long, as LangChain's ContextOverflowError
└── AnswerWithheldError      the policy withholds the answer; also a ModelRefusalError if
    │                        langchain-core has that class (from 1.7.5)
    └── AnswerRetryError     the same, and the policy wants another attempt
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core import exceptions

from energy_guard import Result
from energy_guard.arguments import checked
from energy_guard.decide import Again, Changes
from energy_guard.errors import EnergyGuardError, PromptTooLongError
from langchain_energy_guard.tools import ToolCalls

if TYPE_CHECKING:
    _Refusal = exceptions.LangChainException
else:  # ModelFallbackMiddleware goes by this class
    _Refusal = getattr(exceptions, "ModelRefusalError", exceptions.LangChainException)


class PromptOverflowError(PromptTooLongError, exceptions.ContextOverflowError):
    """The prompt is too long for the context; middleware that shortens chats goes by that."""


class AnswerWithheldError(EnergyGuardError, _Refusal):
    """The policy withholds this answer; `result` has everything behind that.

    Its text has no words of the answer: errors are logged, and some are put into chats.

    structured: a tool call or structured output was expected, so that no text can stand for it.
    calls: the calls of tools that the answer makes, for whoever asks a person about them.
    """

    @checked
    def __init__(
        self,
        result: Result,
        *,
        structured: bool = False,
        calls: ToolCalls | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(
            f"the answer is withheld: {result.unquoted_reason}",
            hint or "Catch AnswerWithheldError, or put `guarded` around the chain.",
        )
        self.result = result
        self.structured = structured
        self.calls = calls or ToolCalls()

    @property
    def partial(self) -> str:
        """What the model wrote in this run, as far as it came."""
        return self.result.attempts[-1].trace.text


class AnswerRetryError(AnswerWithheldError):
    """The policy wants another attempt; `again` says how, as data."""

    @checked
    def __init__(
        self,
        result: Result,
        again: Again,
        *,
        structured: bool = False,
        calls: ToolCalls | None = None,
    ) -> None:
        super().__init__(
            result,
            structured=structured,
            calls=calls,
            hint="Put `guarded` around the chain: it carries the retries of the policy out.",
        )
        self.again = again

    @property
    def changes(self) -> Changes:
        """What the next attempt is to do differently."""
        return self.again.changes
