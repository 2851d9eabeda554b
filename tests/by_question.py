"""A scripted backend whose answer follows from the question, in whatever process it is asked."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Generator
from pathlib import Path

from energy_guard.backends import Script, Scripted
from energy_guard.request import Event, Request

TOWNS = ("Bergen", "Oslo", "Turku")


class ByQuestion(Scripted):
    """Notes in a folder who asked what; some questions end the process that asks them.

    A question with "once" in it does so the first time, one with "always" every time.
    """

    folder: Path

    @classmethod
    def noting(cls, folder: Path, towns: tuple[str, ...] = TOWNS) -> ByQuestion:
        backend = cls.saying(*([(town, 0.6)] for town in towns))
        backend.folder = folder
        return backend

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        question = request.question
        with (self.folder / "asked").open("a") as file:
            file.write(f"{question}\n")
        again = (self.folder / "asked").read_text().count(f"{question}\n") > 1
        if "always" in question or ("once" in question and not again):
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._play(number, request, self._scripts[random.Random(question).randrange(3)])

    def _next(self) -> Script:
        return self._scripts[0]
