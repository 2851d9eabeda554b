"""Reading policies and profiles from TOML or JSON, with errors that name the key."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from energy_guard.errors import ConfigError


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


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a TOML (.toml) or JSON file; ConfigError where it is missing or does not parse."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        data = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
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
