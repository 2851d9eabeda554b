"""Whether the arguments of a call fit the JSON schema of its tool."""

from __future__ import annotations

import re
from typing import Any, Final

_OPEN: Final = ("additionalProperties", "patternProperties", "unevaluatedProperties")
"""What a schema has that says itself which further arguments there may be."""


def misfit(arguments: dict[str, Any], schema: dict[str, Any]) -> str | None:
    """Return what of a call's arguments does not fit, in words that quote no value; else None.

    An argument that the schema does not name does not fit, unless the schema says that others may
    come. A schema that cannot be applied fits nothing.

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

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
        error = best_match(kind(schema, registry=Registry()).iter_errors(arguments))
    except (SchemaError, Unresolvable, RecursionError, re.error):
        return "its schema cannot be applied"
    if error is None:
        unknown = sorted(arguments.keys() - schema.get("properties", arguments).keys())
        open_ = any(name in schema for name in _OPEN)
        return None if open_ or not unknown else f"there is no argument {', '.join(unknown)}"
    if error.validator == "type":
        return f"{error.json_path} is not of the type {error.validator_value!r}"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{error.json_path} lacks {', '.join(missing)}"
    return f"{error.json_path} does not fit its {error.validator}"
