"""Standing in for a method of one object for a while: how a user's engine is read along."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, update_wrapper
from typing import Any, Final


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Put `value` in the place of an attribute of this one object; it is left as found.

    Values may come and go in any order, as those of several tasks on one event loop do: the last
    that is still there is what the attribute is.
    """
    mine, key = [value], (id(owner), name)
    with _registry:
        stack = _stacks.setdefault(key, [[vars(owner).get(name, _NOTHING)]])
        stack.append(mine)
        setattr(owner, name, value)
    try:
        yield
    finally:
        with _registry:
            last = stack[-1] is mine
            stack[:] = [held for held in stack if held is not mine]
            if last:
                _put_back(owner, name, *stack[-1])
            if len(stack) == 1:
                del _stacks[key]


@contextmanager
def standing_in(owner: object, name: str, stand_in: Callable[..., Any]) -> Iterator[None]:
    """Let `stand_in` answer for a method, in this thread; others get the object's own meanwhile.

    It is called with the method as this thread had it before, and the arguments. Threads may
    come and go in any order; the object is left as it was found when the last one has gone.
    """
    with _registry:
        switch = vars(owner).get(name)
        if not isinstance(switch, _Switch):
            switch = _Switch(getattr(owner, name), vars(owner).get(name, _NOTHING))
            setattr(owner, name, switch)
        mine = switch.threads.setdefault(threading.get_ident(), [switch.own])
        mine.append(partial(stand_in, mine[-1]))
    try:
        yield
    finally:
        with _registry:
            mine.pop()
            if len(mine) == 1:
                del switch.threads[threading.get_ident()]
            if not switch.threads:
                _put_back(owner, name, switch.found)


def own_method(owner: object, name: str) -> Any:
    """The method without what stands in for it."""
    method = getattr(owner, name)
    return method.own if isinstance(method, _Switch) else method


class _Switch:
    """In the place of a method: its own for all threads but those that have a stand-in.

    found: what to put back. threads: the stand-ins of each, the method itself at the bottom.
    """

    def __init__(self, own: Callable[..., Any], found: object) -> None:
        update_wrapper(self, own)  # callers read its signature
        self.own = own
        self.found = found
        self.threads: dict[int, list[Callable[..., Any]]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.threads.get(threading.get_ident(), [self.own])[-1](*args, **kwargs)


def _put_back(owner: object, name: str, found: object) -> None:
    delattr(owner, name)
    if found is not _NOTHING:
        setattr(owner, name, found)


_NOTHING: Final = object()

_registry: Final = threading.Lock()

_stacks: Final[dict[tuple[int, str], list[list[object]]]] = {}
"""What stands in for attributes, as one-element lists that are told apart by identity: first what
was found there, last what is there now."""
