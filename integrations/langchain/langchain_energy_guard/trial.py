"""What a `guarded` chain, and the handlers and models inside it, know of each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import replace
from typing import Literal

from energy_guard import Guard, Policy, Result
from energy_guard.backends import ModelInfo
from energy_guard.decide import Again, Attempt, Changes, Move, next_move
from energy_guard.judge import Judge
from langchain_energy_guard.errors import AnswerRetryError, AnswerWithheldError


class Trial:
    """All attempts of one call of a guarded chain.

    A chain may call its model several times, and a retry runs the whole chain again: attempts
    are kept by the number of the call within the chain. policy: in the place of the handlers'
    own, where it is given. asks_more: a retry gets other input.
    """

    def __init__(self, policy: Policy | None = None, asks_more: bool = False) -> None:
        self.policy = policy
        self.asks_more = asks_more
        self._calls = 0
        self._wanted = False
        self._withheld: dict[int, list[Attempt]] = {}
        self._changes: dict[int, Changes] = {}

    def call(self) -> int:
        """Count a call of a model."""
        self._calls += 1
        return self._calls - 1

    def earlier(self, call: int) -> list[Attempt]:
        """Attempts of the same call that were withheld."""
        return self._withheld.get(call, [])

    def changes(self, call: int) -> Changes | None:
        """What this call is to do differently from its last attempt; None on the first."""
        return self._changes.get(call)

    def decide(
        self, call: int, policy: Policy, new: Sequence[Attempt]
    ) -> tuple[list[Attempt], Move]:
        """Decide after an attempt; return all attempts of this call, and the move.

        The retries of all calls together are bounded by the policy's.
        """
        others = sum(len(attempts) for of, attempts in self._withheld.items() if of != call)
        left = policy.model_copy(update={"retries": max(0, policy.retries - others)})
        attempts = [*self.earlier(call), *new]
        move = next_move(left, attempts)
        if isinstance(move, Again):
            self._wanted = True
            self._withheld[call] = attempts
            self._changes[call] = move.changes
        return attempts, move

    def again(self) -> bool:
        """Begin the chain anew, where a move of this trial wants that."""
        wanted, self._wanted, self._calls = self._wanted, False, 0
        return wanted

    def settled(self, judge: Judge, mode: Literal["chat", "raw"], info: ModelInfo) -> Judge:
        """The judge for this way of asking, under this trial's policy where it has one.

        Rules that nobody gave make room for thresholds on scores, as in `Judge.settle`. Raises
        ConfigError and MismatchError where the policy does not fit detector or profile.
        """
        if self.policy is None:
            return judge.fitting(mode)
        if judge.found and self.policy.on == "score":
            mine = (None, None) if judge.profile else (judge.detector.name, judge.locator)
            other = Judge.settle(self.policy, self.policy.detector or mine[0], mine[1])
        else:
            judge = judge.fitting(mode)
            other = Judge.settle(self.policy, judge.detector.name, judge.locator, judge.profile)
            other = replace(other, notes=judge.notes)
        other.check_model(info)
        return other

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the handlers of what runs inside find this trial."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[Trial | None] = ContextVar("energy_guard_trial", default=None)


def current() -> Trial:
    """The trial around this run; one of its own where no `guarded` is around it."""
    return _current.get() or Trial()


def is_guarded() -> bool:
    """Whether a `guarded` stands around this run: it acts on `withheld` errors."""
    return _current.get() is not None


def guard_here(guard: Guard) -> Guard:
    """The guard, under the policy of the `guarded` around it where that gives one.

    It retries by itself, save what `guarded` does: asking its fallback, and asking with other
    input. Raises what `Guard` raises where the policy does not fit.
    """
    trial = current()
    if trial.policy is None:
        return guard
    retries = 0 if trial.asks_more else trial.policy.retries
    if "fallback" in trial.policy.retry:
        retries = min(retries, trial.policy.retry.index("fallback"))
    own = Trial(trial.policy.model_copy(update={"retries": retries}))
    other = copy(guard)
    other.judge = own.settled(guard.judge, "chat", guard.backend.info)
    return other


def withheld(result: Result, structured: bool) -> AnswerWithheldError:
    """The error for a model that has its own Guard, whose retries are used up.

    Another attempt makes sense only with other input: with `more` passages, say.
    """
    trial = current()
    if trial.asks_more:
        call = trial.call()
        _, move = trial.decide(call, trial.policy or result.policy, result.attempts)
        if isinstance(move, Again):
            return AnswerRetryError(result, move, structured=structured)
    return AnswerWithheldError(result, structured=structured)
