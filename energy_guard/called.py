"""A guard over answers that may call tools: a call that nobody can make is no answer."""

from __future__ import annotations

from dataclasses import replace

from energy_guard.guard import Guard
from energy_guard.tools import CallsRule


def with_calls(guard: Guard, rule: CallsRule) -> Guard:
    """Return the guard, and the fallbacks behind it, with a rule on calls.

    An answer that nobody may act on is then unscored and withheld before anybody hears of its
    verdict: the policy's retries, events, logs and counts go by that.

    Args:
        guard: over any engine.
        rule: with the tools of the request; without tools the guard stays as it is.
    """
    if not rule.tools:
        return guard
    ruled = guard.with_judge(replace(guard.judge, unusable=rule))
    if guard.fallback is not None:
        ruled.fallback = with_calls(guard.fallback, rule)
    return ruled
