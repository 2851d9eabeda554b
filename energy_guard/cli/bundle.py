"""Commands that take bundles of options: frozen dataclasses, every field an option of its own.

So the name, the default and the help of an option stand in one place, whatever commands have it,
and options of one type cannot be swapped on their way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature
from typing import Any, Final, get_type_hints

Command = Callable[..., None]

_POSITIONAL: Final = 2
"""How many parameters of a command may be given without their names."""


def bundled(*, without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Spread the bundles that a command takes into parameters of their own, which Typer reads.

    Args:
        without: Fields that this command does not offer; they keep their defaults.
    """

    def spread(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters.values()
        bundles = {
            p.name: p.annotation
            for p in own
            if isinstance(p.annotation, type) and is_dataclass(p.annotation)
        }
        parts = {
            name: [part for part in _parameters(kind) if part.name not in without]
            for name, kind in bundles.items()
        }
        flat = [part for p in own for part in parts.get(p.name, [p])]
        signature = Signature(
            [
                p.replace(
                    kind=Parameter.POSITIONAL_OR_KEYWORD
                    if number < _POSITIONAL
                    else Parameter.KEYWORD_ONLY
                )
                for number, p in enumerate(flat)
            ]
        )

        @wraps(command)
        def called(*args: Any, **kwargs: Any) -> None:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            given = dict(bound.arguments)
            for name, kind in bundles.items():
                given[name] = kind(**{part.name: given.pop(part.name) for part in parts[name]})
            command(**given)

        called.__signature__ = signature  # type: ignore[attr-defined]
        called.__annotations__ = {p.name: p.annotation for p in flat}
        return called

    return spread


def _parameters(kind: type) -> list[Parameter]:
    """The fields of a dataclass as parameters of a function."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        Parameter(
            field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(kind)
    ]
