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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Final, ParamSpec, Self, TypeVar, Union, get_args, get_origin

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

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        in_order, by_name = _of_function(function)
        given = [
            check.fitting(value) if check else value
            for check, value in zip(in_order, args, strict=False)
        ]
        named = {
            name: by_name[name].fitting(value) if name in by_name else value
            for name, value in kwargs.items()
        }
        # More or others than it has: what Python says of that is said by the function itself.
        return function(*given, *args[len(given) :], **named)  # type: ignore[arg-type]

    return call


def check_fields(record: Any) -> None:
    """Check the fields of a dataclass, which its `__post_init__` calls.

    A list becomes a tuple, and a number of NumPy one of Python. Raises InputError for a value
    that its field's annotation does not allow.
    """
    kind: Any = type(record)
    for name, check in _of_record(kind).items():
        value = getattr(record, name)
        fitting = check.fitting(value)
        if fitting is not value:
            object.__setattr__(record, name, fitting)


@dataclass(frozen=True, slots=True)
class _Check:
    """What one argument may be; a value whose type is one of `kinds` may be any of that type."""

    name: str
    adapter: TypeAdapter[Any]
    kinds: frozenset[type]

    @classmethod
    def of(cls, name: str, hint: Any) -> Self:
        return cls(name, _adapter(hint), frozenset(_whole_types(hint)))

    def fitting(self, value: Any) -> Any:
        """The value, plain; InputError if the check does not allow it."""
        # Most arguments: thousands an answer are looked at, and pydantic takes microseconds.
        return value if type(value) in self.kinds else _fitting(self.name, value, self.adapter)


def _adapter(hint: Any) -> TypeAdapter[Any]:
    # In a tuple, as some types do not take the settings that a bare adapter is given.
    return TypeAdapter(tuple[_made_already(hint)], config=_STRICT)  # type: ignore[misc, arg-type]


@functools.cache
def _of_function(
    function: Callable[..., object],
) -> tuple[tuple[_Check | None, ...], Mapping[str, _Check]]:
    """The checks of what is given in order, None if there is none, and of what is named."""
    hints = typing.get_type_hints(function, include_extras=True)
    in_order: list[_Check | None] = []
    by_name: dict[str, _Check] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        check = _Check.of(name, hints[name]) if name in hints else None
        if parameter.kind is not parameter.KEYWORD_ONLY:
            in_order.append(check)
        if parameter.kind is not parameter.POSITIONAL_ONLY and check:
            by_name[name] = check
    return tuple(in_order), by_name


@functools.cache
def _of_record(record: Any) -> Mapping[str, _Check]:
    hints = typing.get_type_hints(record, include_extras=True)
    return {field.name: _Check.of(field.name, hints[field.name]) for field in fields(record)}


def _whole_types(hint: Any) -> Iterator[type]:
    """The types of which any value fits: no numbers with a fraction, which could be NaN."""
    if get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _whole_types(part)
    elif isinstance(hint, type) and (hint in _WHOLE or _is_record(hint)):
        yield hint


_WHOLE: Final = (bool, bytes, int, str, NoneType)


def _is_record(hint: type) -> bool:
    return issubclass(hint, BaseModel) or is_dataclass(hint)


def not_fitting(error: ValidationError) -> InputError:
    """Return the error of ours for the first value that does not fit a model of pydantic's."""
    first = error.errors(include_url=False)[0]
    name = ".".join(map(str, first["loc"])) or error.title
    return InputError(
        f"{name} is {_shown(first['input'])}, which it cannot be", f"{_in_words(first['msg'])}."
    )


def _made_already(hint: Any) -> Any:
    """Allow records as they are alone, not dictionaries that one could be made from."""
    if isinstance(hint, type) and _is_record(hint):
        return Annotated[Any, AfterValidator(functools.partial(_instance, hint))]
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(map(_made_already, get_args(hint)))]  # noqa: UP007
    return hint


def _instance(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"It should be a {kind.__name__}")
    return value


def _fitting(name: str, value: Any, check: TypeAdapter[Any]) -> Any:
    """The value, plain; InputError if the check does not allow it."""
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
    if isinstance(value, _ROW):  # asked first, being most of what comes
        row = tuple if isinstance(value, tuple) else list
        return row(map(_plain, value)) if any(isinstance(v, np.integer) for v in value) else value
    if isinstance(value, _NUMPY_NUMBER):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value.tolist()
    if isinstance(value, _NO_ROW) or not isinstance(value, Sequence):
        return value
    return _plain(list(value))


_ROW: Final = (tuple, list)

_NUMPY_NUMBER: Final = (np.number, np.bool_)

_NO_ROW: Final = (str, bytes, bytearray, memoryview)
"""Sequences that are one thing."""
