"""Reading policies and profiles from TOML or JSON, with errors that name the key."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from energy_guard.arguments import checked
from energy_guard.errors import ConfigError, InputError
from energy_guard.json_text import read_json


class Config(BaseModel):
    """Validated, immutable settings; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            fields = type(self).model_fields
            allowed = ", ".join(field.alias or name for name, field in fields.items())
            raise ConfigError(
                f"bad {type(self).__name__.lower()}: {_problems(error)}",
                f"Its keys are: {allowed}.",
            ) from error
        except ConfigError:
            raise
        except InputError as error:  # of a record among the values
            raise ConfigError(
                f"bad {type(self).__name__.lower()}: {error.message}", error.hint
            ) from error

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with these changes, which are not checked as in a new one but for NaN.

        Args:
            update: The new values, by the names of the settings.
            deep: Whether the values are copied, too.

        Raises:
            ConfigError: If a change is NaN, which no risk would ever reach.

        """
        for name, value in (update or {}).items():
            if isinstance(value, float) and math.isnan(value):
                raise ConfigError(f"{name} is NaN, which no risk reaches", "Give a number.")
        return super().model_copy(update=update, deep=deep)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_from_something_else(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        kinds = {field.annotation, *get_args(field.annotation)}
        if (
            kinds & {int, float}
            and isinstance(value, str | bytes | bool)
            and not kinds & {bool, str}
        ):
            raise ValueError(f"{value!r} is no number")
        return value


@checked
def read_config(path: str | Path) -> dict[str, Any]:
    """Read a TOML (.toml) or JSON file; ConfigError if it is missing or does not parse."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        data = tomllib.loads(text) if file.suffix == ".toml" else read_json(text)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # both parsers' errors, and invalid UTF-8
        raise ConfigError(f"{file} is not valid: {error}", "Write TOML (.toml) or JSON.") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{file} holds no keys at its top level")
    return data


def _problems(error: ValidationError) -> str:
    """Name each key with what is wrong; unknown keys first, they are mostly typing errors."""
    problems = error.errors(include_url=False)
    problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
    said = []
    for problem in problems:
        key = ".".join(str(part) for part in problem["loc"])
        what = (
            "no such key"
            if problem["type"] == "extra_forbidden"
            else problem["msg"].removeprefix("Value error, ")
        )
        said.append(f"{key}: {what}" if key else what)
    return "; ".join(said)
