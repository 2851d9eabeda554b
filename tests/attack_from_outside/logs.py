"""Attacked: logs of answers. One of their lines is spoilt, and all are judged again."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Final

from energy_guard import Profile
from energy_guard.errors import InputError
from energy_guard.log import read_log

from .case import Case, Kind, Make
from .judged import LOG, SCRIPTED_LOG, check, prepare, profile_of, verdict
from .mutate import spoilt_json


def open_logs(folder: Path) -> Make:
    bases = []
    for log in (LOG, SCRIPTED_LOG):
        profile = Profile(**profile_of(folder)) if log == LOG else None
        lines = (folder / log).read_bytes().splitlines(keepends=True)
        before = [verdict(entry, None, profile) for entry in read_log(folder / log)]
        assert {"abstain", "unscored"} & {*before}, before
        bases.append((lines, before, profile))

    def make(number: int, dice: Random) -> Case:
        lines, before, profile = bases[number % 2]
        at = dice.randrange(len(lines))
        raw, how, what = spoilt_json(json.loads(lines[at]), dice)
        path = folder / f"log-{number}.jsonl"

        def run() -> None:
            path.write_bytes(b"".join([*lines[:at], raw, b"\n", *lines[at + 1 :]]))
            log = read_log(path)
            after = [verdict(entry, None, profile) for entry in log]
            if len(after) != len(before):  # a line that was cut off is passed over, and named
                assert log.warnings, "a line is missing without a word"
                assert len(after) == len(before) - 1, "more lines are missing than were spoilt"
                raise InputError(log.warnings[0])
            check(how, before, after)
            path.unlink()

        return Case(f"line {at + 1} of {(LOG, SCRIPTED_LOG)[number % 2]}: {what}", run)

    return make


KIND: Final = Kind("logs: JSON lines", 500, open_logs, prepare)
