"""The kinds of attack, by the names that `--only` takes."""

from __future__ import annotations

from typing import Final

from . import (
    api,
    commands,
    constraints,
    itself,
    kills,
    logs,
    models,
    policies,
    profiles,
    tasks,
    templates,
    threads,
)
from .case import Kind

KINDS: Final[dict[str, Kind]] = {
    "commands": commands.KIND,
    "api": api.KIND,
    "models": models.KIND,
    "profiles": profiles.KIND,
    "logs": logs.KIND,
    "templates": templates.KIND,
    "constraints": constraints.KIND,
    "policies": policies.KIND,
    "calibrate": kills.CALIBRATE,
    "eval": kills.EVALUATE,
    "threads": threads.KIND,
    "tasks": tasks.KIND,
}

WITH_ITSELF: Final = {**KINDS, "itself": itself.KIND}
"""And one that is no attack on the product: it shows that failures are noticed."""
