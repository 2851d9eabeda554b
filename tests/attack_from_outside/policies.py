"""Attacked: policies, as JSON and as TOML."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any, Final

from energy_guard import Policy, Profile
from energy_guard.log import read_log

from .case import Case, Kind, Make
from .judged import LOG, SCRIPTED_LOG, check, prepare, profile_of, verdict
from .mutate import spoilt_json

_ON_SCORE: Final = {
    **{"detector": "nll:max", "on": "score", "warn": 0.5, "abstain": 0.9},
    **{"unscored": "withhold", "nothing_to_check": "withhold", "deadline_s": 30.0},
    **{"early_stop": {"window": 2, "risk": 2.0}, "retries": 1, "retry": ["feedback", "resample"]},
    **{"retry_temperature": 0.7, "feedback_text": "Again: {span}", "abstention_text": "No."},
}
_ON_P_WRONG: Final = {
    **{"on": "p_wrong", "warn": 0.3, "abstain": 0.4, "unscored": "withhold"},
    **{"nothing_to_check": "show", "retries": 0, "warning_text": "Take care."},
}


def to_toml(tree: dict[str, Any]) -> str:
    """The policy as TOML: like JSON, but for null and the names of special numbers."""
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            inner = ", ".join(f"{name} = {_value(part)}" for name, part in value.items())
            lines.append(f"{key} = {{{inner}}}")
        else:
            lines.append(f"{key} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    return json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan")


def open_policies(folder: Path) -> Make:
    bases = []
    for log, tree in ((SCRIPTED_LOG, _ON_SCORE), (LOG, _ON_P_WRONG)):
        entries = [*read_log(folder / log)]
        profile = Profile(**profile_of(folder)) if tree["on"] == "p_wrong" else None
        before = [verdict(entry, Policy(**tree), profile) for entry in entries]
        assert {"abstain", "unscored"} & {*before}, before
        bases.append((tree, entries, profile, before))

    def make(number: int, dice: Random) -> Case:
        tree, entries, profile, before = bases[number % 2]
        raw, how, what = spoilt_json(tree, dice)
        kind = "json"
        if dice.random() < 0.5:
            raw, kind = _as_toml(raw), "toml"
        path = folder / f"policy-{number}.{kind}"

        def run() -> None:
            path.write_bytes(raw)
            policy = Policy.read(path)
            after = [verdict(entry, policy, profile) for entry in entries]
            # Without early_stop no answer is stopped: that is another policy, and as good a one.
            if policy.early_stop is not None or tree is _ON_P_WRONG or how == "twice":
                check(how, before, after)
            path.unlink()

        return Case(f"{kind}: {what}", run)

    return make


def _as_toml(raw: bytes) -> bytes:
    """What is whole JSON turned into TOML, with a key that stands there twice twice."""
    try:
        pairs = json.loads(raw, object_pairs_hook=lambda pairs: pairs)
        return "".join(to_toml({key: _tree(value)}) for key, value in pairs).encode()
    except (ValueError, RecursionError):
        return raw.replace(b": ", b" = ").replace(b", ", b"\n").replace(b"{", b"")


def _tree(value: Any) -> Any:
    """Lists of pairs as objects again."""
    if isinstance(value, list) and value and all(isinstance(each, tuple) for each in value):
        return {key: _tree(part) for key, part in value}
    return value


KIND: Final = Kind("policies: JSON and TOML", 500, open_policies, prepare)
