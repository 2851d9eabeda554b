"""What a `guarded` chain, and the handlers and models inside it, know of each other."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Literal

from energy_guard import Guard, Policy, Result
from energy_guard.backends import ModelInfo
from energy_guard.decide import Again, Attempt, Changes, Move, final_move, next_move
from energy_guard.judge import Judge
from langchain_energy_guard.errors import AnswerRetryError, AnswerWithheldError

Call = tuple[Hashable, int]
"""A call of a model: what it is asked, and how many calls of one round asked that before."""


class Trial:
    """All attempts of one call of a guarded chain.

    policy: in the place of the handlers' own, where it is given. asks_more: a retry gets other
    input.
    """

    def __init__(self, policy: Policy | None = None, asks_more: bool = False) -> None:
        self.policy = policy
        self.asks_more = asks_more
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.rounds: list[Round] = []
        self.withheld: dict[Call, list[Attempt]] = {}
        self.changes: dict[Call, Changes] = {}

    def again(self) -> bool:
        """Whether a call of the last round wants the chain to be run anew."""
        return self.rounds[-1].wants_another

    def deadline(self, policy: Policy) -> float:
        """The `time.monotonic()` at which a policy's time is over: it is for everything."""
        return math.inf if policy.deadline_s is None else self.began + policy.deadline_s

    def begin(self) -> Round:
        """Run the chain, once more perhaps."""
        with self.lock:
            self.rounds.append(Round(self, self.rounds[-1] if self.rounds else None))
            return self.rounds[-1]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the handlers of what runs inside find this trial, in a new round."""
        token = _current.set(self.begin())
        try:
            yield
        finally:
            _current.reset(token)


class Round:
    """One run of the chain within a trial, which may call its model several times, also at once.

    A retry runs the whole chain again, and branches come in another order then: a call finds its
    earlier attempts by what it is asked. Where each retry has other input, by its place.
    """

    def __init__(self, trial: Trial, before: Round | None) -> None:
        self.trial = trial
        self.policy = trial.policy
        self.wants_another = False
        self._before = before
        self._calls: list[Call] = []
        self._number = len(trial.rounds)

    def call(self, prompt: Hashable = None) -> Call:
        """Note a call of a model."""
        with self.trial.lock:
            call = (prompt, sum(asked == prompt for asked, _ in self._calls))
            if self.trial.asks_more and call not in self.trial.withheld:
                self._go_on(call)
            self._calls.append(call)
            return call

    def earlier(self, call: Call) -> list[Attempt]:
        """Attempts of the same call that were withheld."""
        return self.trial.withheld.get(call, [])

    def changes(self, call: Call) -> Changes | None:
        """What this call is to do differently from its last attempt; None on the first."""
        return self.trial.changes.get(call)

    def decide(
        self, call: Call, policy: Policy, new: Sequence[Attempt]
    ) -> tuple[list[Attempt], Move]:
        """Decide after an attempt; return all attempts of this call, and the move.

        The chain is run again as often as the policy retries, whichever calls want that. Nobody
        waits for a branch that goes on when its round is over: what it decides counts no more.
        """
        trial = self.trial
        with trial.lock:
            if trial.rounds[-1] is not self:
                return list(new), final_move(policy, new)
            earlier = self.earlier(call)
            others = self._number - len(earlier)
            over = time.monotonic() >= trial.deadline(policy)
            retries = 0 if over else max(0, policy.retries - others)
            left = policy.model_copy(update={"retries": retries})
            attempts = [*earlier, *new]
            move = next_move(left, attempts)
            if isinstance(move, Again):
                self.wants_another = True
                trial.withheld[call] = attempts
                trial.changes[call] = move.changes
            return attempts, move

    def settled(self, judge: Judge, mode: Literal["chat", "raw"], info: ModelInfo) -> Judge:
        """The judge for this way of asking, under the trial's policy where it has one.

        Rules that nobody gave make room for thresholds on scores, as in `Judge.settle`. Raises
        ConfigError and MismatchError where the policy does not fit detector or profile.
        """
        if self.policy is None:
            return judge.for_asking(mode)
        if judge.found and self.policy.on == "score":
            mine = (None, None) if judge.profile else (judge.detector.name, judge.locator)
            other = Judge.assemble(
                self.policy, detector=self.policy.detector or mine[0], locator=mine[1]
            )
        else:
            judge = judge.for_asking(mode)
            other = Judge.assemble(
                self.policy,
                detector=judge.detector.name,
                locator=judge.locator,
                profile=judge.profile,
            )
            other = replace(other, notes=judge.notes)
        other.check_model(info)
        return other

    def _go_on(self, call: Call) -> None:
        """Let a call with a new prompt go on where the call in its place was withheld."""
        before = self._before._calls if self._before else []
        old = before[len(self._calls)] if len(self._calls) < len(before) else call
        if old in self.trial.withheld:
            self.trial.withheld[call] = self.trial.withheld.pop(old)
            self.trial.changes[call] = self.trial.changes.pop(old)


_current: ContextVar[Round | None] = ContextVar("energy_guard_trial", default=None)


def current() -> Round:
    """The round of the trial around this run; of its own where no `guarded` is around it."""
    return _current.get() or Trial().begin()


def is_guarded() -> bool:
    """Whether a `guarded` stands around this run: it acts on `withheld` errors."""
    return _current.get() is not None


def guard_here(guard: Guard) -> Guard:
    """The guard, under the policy of the `guarded` around it where that gives one.

    It retries by itself, save what `guarded` does: asking its fallback, and asking with other
    input. Raises what `Guard` raises where the policy does not fit.
    """
    trial = current().trial
    if trial.policy is None:
        return guard
    retries = 0 if trial.asks_more else trial.policy.retries
    if "fallback" in trial.policy.retry:
        retries = min(retries, trial.policy.retry.index("fallback"))
    own = Trial(trial.policy.model_copy(update={"retries": retries}))
    return guard.with_judge(own.begin().settled(guard.judge, "chat", guard.backend.info))


def deadline_here(timeout: float | None) -> float | None:
    """When an answer's time is over, or that of the `guarded` around it; None for no limit."""
    trial = current().trial
    ends = [] if timeout is None else [time.monotonic() + timeout]
    if trial.policy is not None and trial.policy.deadline_s is not None:
        ends.append(trial.deadline(trial.policy))
    return min(ends, default=None)


def withheld(result: Result, structured: bool) -> AnswerWithheldError:
    """The error for a model that has its own Guard, whose retries are used up.

    Another attempt makes sense only with other input: with `more` passages, say.
    """
    here = current()
    if here.trial.asks_more:
        _, move = here.decide(here.call(), here.policy or result.policy, result.attempts)
        if isinstance(move, Again):
            return AnswerRetryError(result, move, structured=structured)
    return AnswerWithheldError(result, structured=structured)
