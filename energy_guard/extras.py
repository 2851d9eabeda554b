"""What to say when an optional package is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from energy_guard.errors import MissingExtraError


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a module that is not installed into a MissingExtraError that says what to install.

    Only the import belongs inside: another failure there passes as it is.

    >>> with needs_extra("eval"):
    ...     import math
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"this needs {error.name}, which is not installed",
            f"Install it: pip install 'energy-guard[{extra}]'",
        ) from error
