"""Tries cases of one kind, and prints a JSON line before and after each.

`python -m attack_from_outside.worker KIND SEED FOLDER NUMBER…`. What is no EnergyGuardError ends
this process with its traceback: the runner counts that and starts another one.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from energy_guard.errors import EnergyGuardError

from .kinds import WITH_ITSELF


def tell(**said: Any) -> None:
    """Say something to the runner, whatever has become of standard output meanwhile."""
    os.write(_CHANNEL, json.dumps(said).encode() + b"\n")


def work(name: str, seed: int, folder: Path, numbers: list[int]) -> None:
    make = WITH_ITSELF[name].open(folder)
    for number in numbers:
        case = make(number, random.Random(f"{seed} {name} {number}"))
        tell(number=number, what=case.what)
        try:
            case.run()
        except EnergyGuardError as error:
            tell(number=number, held="refused", why=str(error))
        else:
            tell(number=number, held="worked")


if __name__ == "__main__":
    faulthandler.enable()
    _CHANNEL = os.dup(1)
    os.dup2(2, 1)  # what the attacked code prints is no report
    name, seed, folder, *numbers = sys.argv[1:]
    work(name, int(seed), Path(folder), [*map(int, numbers)])
