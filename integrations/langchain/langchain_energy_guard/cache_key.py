"""What an answer depends on apart from the settings of the call: LangChain's cache goes by it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from energy_guard import Guard, Profile
from langchain_energy_guard.guarded_call import is_guarded


def cache_key(guard: Guard) -> dict[str, Any]:
    """Return what a guard's results depend on, as texts.

    Inside `guarded` an answer that is withheld is an error, and outside a text like any other: one
    must not come from the cache for the other.

    >>> from energy_guard.backends import Scripted
    >>> cache_key(Guard(Scripted.saying()))["detector"]
    'nll:max'
    """
    return _of(guard) | {"guarded": is_guarded()}


def _of(guard: Guard) -> dict[str, Any]:
    info, judge, fallback = guard.backend.info, guard.judge, guard.fallback
    return {
        "model_name": info.name,
        "fingerprint": info.fingerprint,
        "engine": json.dumps(dict(info.engine), sort_keys=True),
        "detector": judge.detector.name,
        "locator": judge.locator,
        "policy": judge.policy.model_dump_json(),
        "support": sorted(judge.measures_support),
        "profile": None if judge.profile is None else _digest(judge.profile),
        "fallback": None if fallback is None else _of(fallback),
    }


def _digest(profile: Profile) -> str:
    return hashlib.sha256(profile.model_dump_json().encode()).hexdigest()
