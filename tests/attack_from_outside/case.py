"""What one attack is, and how a kind of attack hands its cases over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Case:
    """One attack.

    what: in words, or as it is typed. run: tries it, and returns when it held. Where it raises
    an EnergyGuardError, the product refused, and that holds as well; any other exception is a
    failure, as is the end of the process, a wait without end and too much memory.
    """

    what: str
    run: Callable[[], object]


Make = Callable[[int, Random], Case]
"""Makes the case of a number; the dice are of this number alone."""


@dataclass(frozen=True)
class Kind:
    """A kind of attack.

    title: in the table. count: cases of a whole run. open: called once a process, with the
    shared folder; what it returns makes the cases. prepare: called once a run, before the first
    process, to put into that folder what takes long to make. limit_s: seconds for one case.
    limit_mib: memory of one process while it tries.
    """

    title: str
    count: int
    open: Callable[[Path], Make]
    prepare: Callable[[Path], object] = lambda _folder: None
    limit_s: float = 20.0
    limit_mib: int = 2048


def short(text: object, limit: int = 300) -> str:
    """The text on one line, cut where it is long."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else f"{line[:limit]}… ({len(line)} characters)"
