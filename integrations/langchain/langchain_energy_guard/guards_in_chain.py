"""What a chain has in it that guards a model, as far as that can be seen from outside.

Functions hide what they call in globals and attributes, so that to see none is no proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_energy_guard.callback import (
    AsyncEnergyGuardCallbackHandler,
    EnergyGuardCallbackHandler,
)
from langchain_energy_guard.chat_model import ChatEnergyGuard

_GUARDS = (ChatEnergyGuard, EnergyGuardCallbackHandler, AsyncEnergyGuardCallbackHandler)


def guards_seen(chain: Runnable[Any, Any]) -> Iterator[object]:
    """Yield each ChatEnergyGuard and each handler of this package that is seen in a chain."""
    seen: set[int] = set()
    waiting: list[object] = [chain]
    while waiting:
        part = waiting.pop()
        if isinstance(part, _GUARDS):
            yield part
        elif id(part) not in seen:
            seen.add(id(part))
            waiting.extend(_parts(part))


def _parts(part: object) -> Iterable[object]:
    if isinstance(part, Mapping):
        return part.values()
    if isinstance(part, list | tuple):
        return part
    if isinstance(part, BaseCallbackManager):
        return part.handlers
    inside = list(vars(part).values()) if isinstance(part, Runnable) else []
    return [*inside, *part.deps] if isinstance(part, RunnableLambda) else inside
