"""Decodes one token and exits: run by `doctor` in a child process, because it may crash."""

from __future__ import annotations

import json
import sys

from energy_guard.cli.options import EngineOptions
from energy_guard.errors import EnergyGuardError
from energy_guard.request import Request

if __name__ == "__main__":
    try:
        backend = EngineOptions(**json.loads(sys.argv[1])).open()
        for _ in backend.generate([Request.raw("Hello", max_tokens=1)]):
            pass
    except EnergyGuardError as error:
        sys.exit(str(error))
