"""Whether the arguments of a call fit the JSON schema of its tool."""

from __future__ import annotations

import re
from typing import Any, Final

_OPEN: Final = ("additionalProperties", "patternProperties", "unevaluatedProperties")
"""What says in a schema itself which arguments there may be beside those in `properties`."""


_NO_SCHEMA: Final = (AttributeError, TypeError, ValueError)
"""What jsonschema fails of if an address is none, or a reference leads to what is no schema."""


def misfit(arguments: dict[str, Any], schema: dict[str, Any]) -> str | None:
    """Return what of a call's arguments does not fit, in words that quote no value; else None.

    Stricter than JSON Schema in one thing: if the schema names arguments (`properties`), others do
    not fit, unless it says itself that they may come. A schema without `properties` means that any
    may come; objects inside an argument may have more than is named, too, as JSON Schema has it. A
    schema that cannot be applied fits nothing.

    Args:
        arguments: of one call.
        schema: of the tool's arguments; nothing is fetched for it.

    >>> misfit({"x": "one"}, {"type": "object", "properties": {"x": {"type": "integer"}}})
    "$.x is not of the type 'integer'"
    """
    from jsonschema.exceptions import SchemaError, best_match
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
        error = best_match(kind(schema, registry=Registry()).iter_errors(arguments))
    except (SchemaError, Unresolvable, RecursionError, re.error, *_NO_SCHEMA):
        return "its schema cannot be applied"
    except OverflowError:  # a schema divides by a number of its own
        return "a number in it is too large"
    if error is None:
        if "properties" not in schema or any(name in schema for name in _OPEN):
            return None
        unknown = sorted(arguments.keys() - schema["properties"].keys())
        return f"there is no argument {', '.join(unknown)}" if unknown else None
    if error.validator == "type":
        return f"{error.json_path} is not of the type {error.validator_value!r}"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{error.json_path} lacks {', '.join(missing)}"
    return f"{error.json_path} does not fit its {error.validator}"
