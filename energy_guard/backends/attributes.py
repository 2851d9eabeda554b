"""Standing in for a method of one object for a while: how a user's engine is read along."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Put `value` in the place of an attribute of this one object; it is left as found."""
    before = vars(owner).get(name, _NOTHING)
    setattr(owner, name, value)
    try:
        yield
    finally:
        delattr(owner, name)
        if before is not _NOTHING:
            setattr(owner, name, before)


_NOTHING = object()
