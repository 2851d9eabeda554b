"""Everything this package raises on purpose.

    EnergyGuardError
    ├── InputError               what was asked for cannot be done as asked
    │   ├── PromptError          empty, or not valid text
    │   │   └── PromptTooLongError   more than the context holds
    │   ├── ModelFileError       missing, truncated, not a model
    │   ├── ConfigError          unknown detector or locator, bad policy or profile
    │   │   └── MismatchError    a policy or profile that belongs to something else
    │   └── MissingExtraError    an optional package is not installed
    ├── RowError                 a row of logits from which no signal can be computed
    │   └── NormalisedRowsError  rows that are log-probabilities: the energies are gone
    ├── EngineError              the engine failed while it worked
    │   └── EngineBusyError      the engine is in use and waiting took too long
    └── LogError                 a result could not be written to the log

Every error says what happened and, as its hint, what to do next.
"""

from __future__ import annotations

import copyreg
from typing import Any


class EnergyGuardError(Exception):
    """The root of the tree; `hint` says what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy it as it is: process pools send errors, and not every `__init__` takes a text."""
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class InputError(EnergyGuardError):
    """What was asked for cannot be done as asked."""


class PromptError(InputError):
    """The prompt is empty, too long for the context, or not valid text."""


class PromptTooLongError(PromptError):
    """The prompt is too long for the context."""


class ModelFileError(InputError):
    """The model file is missing, truncated or not a model file."""


class ConfigError(InputError):
    """An option, policy or profile has a key or a value that is not allowed."""


class MismatchError(ConfigError):
    """A policy or profile was made for another model, detector or way of asking."""


class MissingExtraError(InputError):
    """An optional package that this call needs is not installed."""


class RowError(EnergyGuardError):
    """A row of logits from which no signal can be computed."""


class NormalisedRowsError(RowError):
    """The rows are log-probabilities: their partition is 0 and the energies are gone."""


class EngineError(EnergyGuardError):
    """The engine failed while it worked."""


class EngineBusyError(EngineError):
    """The engine is in use, and waiting for it took longer than allowed."""


class LogError(EnergyGuardError):
    """A result could not be written to the log; nothing else is wrong with it.

    result: the `Result`, if there was one.
    """

    result: object = None
