"""What a withheld answer raises."""

from __future__ import annotations

from pydantic_ai.exceptions import ModelAPIError

from energy_guard import Result
from energy_guard.errors import EnergyGuardError


class AnswerWithheldError(EnergyGuardError, ModelAPIError):
    """The policy withholds this answer; `FallbackModel` goes on to its next model.

    Its text has no words of the answer, as errors are logged. `result` has everything behind it.
    """

    def __init__(self, result: Result) -> None:
        # The two parents take different arguments: Pydantic AI's own are set by its class.
        ModelAPIError.__init__(
            self, result.model.name, f"the answer is withheld: {result.unquoted_reason}"
        )
        self.hint = "Catch AnswerWithheldError, or give a FallbackModel another model."
        self.result = result

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}"
