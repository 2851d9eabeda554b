"""Which model of a server is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from energy_guard.backends.remote.connection import Connection
from energy_guard.backends.remote.replies import ListedModel, ModelList
from energy_guard.errors import ConfigError

_MOST: Final = 12
"""How many names an error lists."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model by the name that its server knows, and what the server calls itself.

    >>> ServedModel("qwen3:4b", "library").name
    'qwen3:4b'
    """

    name: str
    owner: str


def served_by(connection: Connection, name: str | None) -> ServedModel:
    """Return the model that is asked for, or the only one.

    Args:
        connection: to the server.
        name: of the model; None if there is but one.

    Raises:
        ConfigError: The server has no model of this name, or several and none is named.
        EngineError: It cannot be reached, or does not list its models.

    """
    listed = ModelList.read(connection.get("/models")).data
    found = _named(listed, name)
    if found is None:
        names = ", ".join(sorted(model.id for model in listed)[:_MOST]) or "none"
        what = f"has no model {name!r}" if name else f"has {len(listed)} models, and none is named"
        raise ConfigError(
            f"{connection.address.url} {what}",
            f'Name one: --served-model NAME, load(…, served_model="NAME"). It has: {names}.',
        )
    return ServedModel(found.id, found.owned_by or "unknown")


def _named(listed: list[ListedModel], name: str | None) -> ListedModel | None:
    if name is None:
        return listed[0] if len(listed) == 1 else None
    return next((model for model in listed if model.id == name), None)
