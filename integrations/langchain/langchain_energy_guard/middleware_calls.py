"""Calls of a model that LangChain's middleware makes for itself: no user asks them.

Middleware marks them in the metadata of the call. An abstention is no answer to them: as a summary
it would take the place of the whole chat before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from energy_guard.judge import Judge
from energy_guard.locate import Locator, NothingToCheck

_SOURCE: Final = "lc_source"
_SUMMARY: Final = "summarization"


def is_of_middleware(metadata: Mapping[str, Any] | None) -> bool:
    """Whether middleware asks; metadata: that of the model's run."""
    return bool((metadata or {}).get(_SOURCE))


def judge_for_call(judge: Judge, metadata: Mapping[str, Any] | None) -> Judge:
    """Return the judge for this call, which is the same unless a summary of the chat is asked for.

    A summary answers no question, so there is nothing to check in it, as in a greeting: the policy
    says what becomes of such a text (`nothing_to_check`). One that is not complete is unscored.
    """
    if (metadata or {}).get(_SOURCE) != _SUMMARY:
        return judge
    policy = judge.policy.model_copy(update={"early_stop": None, "retries": 0})
    return replace(judge, policy=policy, profile=None, locator="summary", locate=_NOTHING)


_NOTHING: Final = Locator(
    lambda answer, asked: NothingToCheck("a summary of the chat, which the model makes for itself"),
    any_end=True,
)
