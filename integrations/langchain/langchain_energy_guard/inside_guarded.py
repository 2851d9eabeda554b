"""How a model with a Guard of its own answers inside a `guarded`: under its policy and its time."""

from __future__ import annotations

import time

from energy_guard import Guard, Result
from energy_guard.decide import Again
from langchain_energy_guard.errors import AnswerRetryError, AnswerWithheldError
from langchain_energy_guard.guarded_call import GuardedCall, current_run
from langchain_energy_guard.tools import ToolCalls


def guard_here(guard: Guard) -> Guard:
    """The guard, under the policy of the `guarded` around it if that gives one.

    It retries by itself, save what `guarded` does: asking its fallback, and asking with other
    input. Raises what `Guard` raises if the policy does not fit.
    """
    whole = current_run().whole
    if whole.policy is None:
        return guard
    retries = 0 if whole.asks_more else whole.policy.retries
    if "fallback" in whole.policy.retry:
        retries = min(retries, whole.policy.retry.index("fallback"))
    own = GuardedCall(whole.policy.model_copy(update={"retries": retries}))
    judge = own.begin().judge_for(guard.judge, "chat", guard.backend.info)
    whole.check_more(judge, whole.policy)
    return guard.with_judge(judge)


def deadline_here(timeout: float | None) -> float | None:
    """When an answer's time is over, or that of the `guarded` around it; None for no limit."""
    whole = current_run().whole
    ends = [] if timeout is None else [time.monotonic() + timeout]
    if whole.policy is not None and whole.policy.deadline_s is not None:
        ends.append(whole.deadline(whole.policy))
    return min(ends, default=None)


def withheld_error(result: Result, structured: bool, calls: ToolCalls) -> AnswerWithheldError:
    """The error for a model that has its own Guard, whose retries are used up.

    Another attempt makes sense only with other input: with `more` passages, say.
    """
    here = current_run()
    if here.whole.asks_more:
        _, move = here.decide(here.call(), here.policy or result.policy, result.attempts)
        if isinstance(move, Again):
            return AnswerRetryError(result, move, structured=structured, calls=calls)
    return AnswerWithheldError(result, structured=structured, calls=calls)
