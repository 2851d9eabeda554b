"""Decodes one token and exits: run by `doctor` in a child process, because it may crash."""

from __future__ import annotations

import sys

from energy_guard.backends import load
from energy_guard.errors import EnergyGuardError
from energy_guard.request import Request

if __name__ == "__main__":
    try:
        for _ in load(sys.argv[1], n_ctx=256).generate([Request.raw("Hello", max_tokens=1)]):
            pass
    except EnergyGuardError as error:
        sys.exit(str(error))
