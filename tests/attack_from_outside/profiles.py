"""Attacked: profiles. A shipped one and a small one are spoilt."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any, Final

from energy_guard import Profile
from energy_guard.log import LogEntry, read_log

from .case import Case, Kind, Make
from .judged import LOG, SCRIPTED_LOG, check, prepare, profile_of, verdict
from .mutate import spoilt_json


def small_profile(entry: LogEntry) -> dict[str, Any]:
    """One signal, and a probability that is read off between knots."""
    made = Profile(
        model=entry.model_info.fingerprint,
        backend=entry.model_info.backend,
        mode="chat",
        detector="nll:max",
        locator="automatic",
        judged="every claim",
        calibration={
            **{"knots": [[0.0, 0.01], [1.0, 0.2], [3.0, 0.9]], "n": 200, "n_wrong": 90},
            **{"lowest": 0.0, "highest": 4.2, "shortest": 1, "longest": 2},
        },
        warn=0.1,
        abstain=0.2,
    )
    tree: dict[str, Any] = json.loads(made.model_dump_json(by_alias=True))
    return tree


def open_profiles(folder: Path) -> Make:
    bases = []
    for log in (LOG, SCRIPTED_LOG):
        entries = [*read_log(folder / log)]
        tree = profile_of(folder) if log == LOG else small_profile(entries[0])
        before = [verdict(entry, None, Profile(**tree)) for entry in entries]
        assert {"abstain", "unscored"} & {*before}, before
        bases.append((tree, entries, before))

    def make(number: int, dice: Random) -> Case:
        tree, entries, before = bases[number % 2]
        raw, how, what = spoilt_json(tree, dice)
        path = folder / f"profile-{number}.json"

        def run() -> None:
            path.write_bytes(raw)
            profile = Profile.read(path)
            after = [verdict(entry, None, profile) for entry in entries]
            check(how, before, after)
            path.unlink()

        return Case(f"{('shipped', 'small')[number % 2]} profile, {what}", run)

    return make


KIND: Final = Kind("profiles", 500, open_profiles, prepare)
