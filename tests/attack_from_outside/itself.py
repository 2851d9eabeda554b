"""Attacked: the attackers. Whatever a case does, the runner has to notice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from random import Random
from typing import Final

from energy_guard.errors import ConfigError

from .case import Case, Kind, Make

_LIMIT_MIB: Final = 512
"""Soon reached: a busy machine takes seconds to hand out gigabytes."""


def _refuses() -> None:
    raise ConfigError("no", "Ask otherwise.")


def _fails() -> None:
    raise ZeroDivisionError("a foreign one")


def _dies() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hangs() -> None:
    time.sleep(60)


def _grows() -> None:
    held = b"x" * (_LIMIT_MIB * 2**20)
    time.sleep(60)
    del held


CASES: Final = {
    "works": lambda: None,
    "refuses": _refuses,
    "fails": _fails,
    "dies": _dies,
    "hangs": _hangs,
    "grows": _grows,
    "works again": lambda: None,
}


def open_cases(_folder: Path) -> Make:
    def make(number: int, _dice: Random) -> Case:
        name = [*CASES][number]
        return Case(name, CASES[name])

    return make


KIND: Final = Kind("the attackers", len(CASES), open_cases, limit_s=5, limit_mib=_LIMIT_MIB)
