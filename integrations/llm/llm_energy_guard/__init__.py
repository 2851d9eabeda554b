"""Models of `llm` with a guard over them: `llm -m energy-guard/demo "…"`.

`energy-guard/demo` is the embedded model; `llm energy-guard add NAME MODEL` adds your own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import llm

from energy_guard.errors import ConfigError
from energy_guard.files import write_whole
from llm_energy_guard.model import AnswerWithheldError, EnergyGuardModel

__all__ = ["AnswerWithheldError", "EnergyGuardModel", "register_commands", "register_models"]


@llm.hookimpl
def register_models(register: Any) -> None:
    """Tell `llm` of the embedded model and of those that were added, if their file is sound."""
    try:
        added = _added()
    except ConfigError as error:  # `llm` shows a bare traceback, whatever model was asked for
        click.echo(f"energy-guard: {error}", err=True)
        added = {}
    for name, model in {"demo": "demo", **added}.items():
        register(EnergyGuardModel(name, model))


@llm.hookimpl
def register_commands(cli: click.Group) -> None:
    """Add the command that adds models."""

    @cli.group("energy-guard")
    def group() -> None:
        """Manage the models that energy-guard watches."""

    @group.command()
    @click.argument("name")
    @click.argument("model")
    def add(name: str, model: str) -> None:
        """Add MODEL as energy-guard/NAME: a GGUF file, a directory, or a name on the hub."""
        path = Path(model).expanduser()
        models = _added() | {name: str(path.resolve()) if path.exists() else model}
        write_whole(_file(), json.dumps(models, indent=2) + "\n")
        click.echo(f"energy-guard/{name} is in {_file()}")


def _file() -> Path:
    return Path(llm.user_dir()) / "energy-guard.json"


def _added() -> dict[str, str]:
    """The models that were added, by name; ConfigError if the file cannot be read."""
    try:
        models = json.loads(_file().read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(f"{_file()} is no JSON: {error}", "Mend it, or delete it.") from error
    except OSError as error:
        raise ConfigError(f"{_file()} cannot be read: {error}", "Mend it, or delete it.") from error
    if not isinstance(models, dict) or not all(isinstance(m, str) for m in models.values()):
        raise ConfigError(
            f"{_file()} is no object of names and models",
            'Make it one, such as {"mine": "/models/mine.gguf"}, or delete it.',
        )
    return models
