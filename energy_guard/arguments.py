"""What is given to public functions and records, checked against the types that they declare.

An annotation is the one place where an argument's type and range are stated: a new argument is
checked by having one. Whatever does not fit is an InputError that names it.
"""

from __future__ import annotations

import functools
import inspect
import math
import reprlib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Final, ParamSpec, TypeVar, Union, get_args, get_origin

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from energy_guard.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

_STRICT: Final = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
"""No number from a text, no integer from True, and no NaN."""


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("It should not be empty")
    return text


Filled = Annotated[str, AfterValidator(_filled)]
"""A text with something in it."""


def _several(values: Any) -> Any:
    if isinstance(values, str | bytes | Mapping):
        raise ValueError("It should be a list")
    return values


Several: Final = BeforeValidator(_several)
"""For an `Iterable`: one text is not several, nor is a mapping."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""

NotNegative = Annotated[float, Field(ge=0)]
"""A finite number, 0 or more."""

Positive = Annotated[float, Field(gt=0)]
"""A finite number above 0."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function with its arguments checked before it is called.

    Args:
        function: Every argument that has an annotation is checked by it, those after `**` not.

    Returns:
        The same function, which raises InputError for what does not fit.

    >>> @checked
    ... def half(number: float) -> float:
    ...     return number / 2
    >>> half(3)
    1.5
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        checks = _of_function(function)
        for name in checks.keys() & bound.arguments.keys():
            bound.arguments[name] = _fitting(name, bound.arguments[name], checks[name])
        return function(*bound.args, **bound.kwargs)

    return call


def check_fields(record: Any) -> None:
    """Check the fields of a dataclass, which its `__post_init__` calls.

    A list becomes a tuple, and a number of NumPy one of Python. Raises InputError for a value
    that its field's annotation does not allow.
    """
    kind: Any = type(record)
    for name, check in _of_record(kind).items():
        value = getattr(record, name)
        fitting = _fitting(name, value, check)
        if fitting is not value:
            object.__setattr__(record, name, fitting)


@functools.cache
def _of_function(function: Callable[..., object]) -> Mapping[str, TypeAdapter[Any]]:
    hints = typing.get_type_hints(function, include_extras=True)
    starred = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {
        name: _check(hints[name])
        for name, parameter in inspect.signature(function).parameters.items()
        if name in hints and parameter.kind not in starred
    }


@functools.cache
def _of_record(record: Any) -> Mapping[str, TypeAdapter[Any]]:
    hints = typing.get_type_hints(record, include_extras=True)
    return {field.name: _check(hints[field.name]) for field in fields(record)}


def _check(hint: Any) -> TypeAdapter[Any]:
    # In a tuple, as some types do not take the settings that a bare adapter is given.
    return TypeAdapter(tuple[_made_already(hint)], config=_STRICT)  # type: ignore[misc, arg-type]


def not_fitting(error: ValidationError) -> InputError:
    """Return the error of ours for the first value that does not fit a model of pydantic's."""
    first = error.errors(include_url=False)[0]
    name = ".".join(map(str, first["loc"])) or error.title
    return InputError(
        f"{name} is {_shown(first['input'])}, which it cannot be", f"{_in_words(first['msg'])}."
    )


def _made_already(hint: Any) -> Any:
    """Allow records as they are alone, not dictionaries that one could be made from."""
    if isinstance(hint, type) and (issubclass(hint, BaseModel) or is_dataclass(hint)):
        return Annotated[Any, AfterValidator(functools.partial(_instance, hint))]
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(map(_made_already, get_args(hint)))]  # noqa: UP007
    return hint


def _instance(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"It should be a {kind.__name__}")
    return value


def _fitting(name: str, value: Any, check: TypeAdapter[Any]) -> Any:
    """The value, plain; InputError where the check does not allow it."""
    value = _plain(value)
    try:
        (fitting,) = check.validate_python((value,))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # A text that is not UTF-8 has the right type; `request.check_text` says where it breaks.
        if any(problem["type"] == "string_unicode" for problem in problems):
            return value
        if [problem["type"] for problem in problems] == ["sequence_str"]:
            raise InputError(
                f"the {name} are one text, not a list", "Give a list of texts, not one text."
            ) from error
        place = "".join(f"[{key!r}]" for key in _place(problems))
        at = f" because of {name}{place}" if place else ""
        said = dict.fromkeys(_in_words(problem["msg"]) for problem in problems)
        raise InputError(
            f"{name} is {_shown(value)}, which it cannot be{at}",
            f"{'; or '.join(said)}.",
        ) from error
    # Whatever else is taken for a number, such as a Decimal, is one from here on.
    is_other = isinstance(fitting, float) and not isinstance(value, float | int)
    return fitting if is_other else value


def _place(problems: Iterable[Any]) -> tuple[int | str, ...]:
    """Where inside the value the only problem is; empty if it is the value itself."""
    places = {problem["loc"][1:] for problem in problems}
    only = places.pop() if len(places) == 1 else ()
    return tuple(key for key in only if isinstance(key, int))


def _shown(value: Any) -> str:
    return "NaN" if isinstance(value, float) and math.isnan(value) else reprlib.repr(value)


def _in_words(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should", "It should")


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, alone or in a row, and any row but a tuple as a list."""
    if isinstance(value, np.number | np.bool_):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value.tolist()
    if isinstance(value, _NO_ROW) or not isinstance(value, Sequence):
        return value
    row = tuple if isinstance(value, tuple) else list
    if any(isinstance(v, np.integer) for v in value):
        return row(map(_plain, value))
    return value if isinstance(value, tuple | list) else row(value)


_NO_ROW: Final = (str, bytes, bytearray, memoryview)
"""Sequences that are one thing."""
