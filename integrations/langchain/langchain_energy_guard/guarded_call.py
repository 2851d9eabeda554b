"""One call of a `guarded` chain: the runs of the chain in it, and the models' answers in them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Literal
from uuid import UUID

from energy_guard import Policy
from energy_guard.backends import ModelInfo
from energy_guard.decide import Again, Attempt, Changes, Move, final_move, next_move
from energy_guard.errors import ConfigError, MismatchError
from energy_guard.judge import Judge
from langchain_energy_guard.errors import AnswerWithheldError
from langchain_energy_guard.judged_answers import JudgedAnswers

ModelCall = tuple[Hashable, int]
"""A call of a model: what it is asked, and how many calls of one run asked that before."""


class GuardedCall:
    """All attempts of one call of a guarded chain.

    policy: in the place of the handlers' own, if it is given. asks_more: a retry gets other
    input. outer: the run of the guarded chain around this one, if there is one.
    """

    def __init__(self, policy: Policy | None = None, asks_more: bool = False) -> None:
        self.policy = policy
        self.asks_more = asks_more
        self.began = time.monotonic()
        self.outer = _run_here.get()
        self.lock = threading.Lock()
        self.runs: list[ChainRun] = []
        self.withheld: dict[ModelCall, list[Attempt]] = {}
        self.changes: dict[ModelCall, Changes] = {}

    def again(self) -> bool:
        """Whether a call of the last run wants the chain to be run anew."""
        return self.runs[-1].wants_another

    def deadline(self, policy: Policy) -> float:
        """The `time.monotonic()` at which a policy's time is over: it is for everything."""
        return math.inf if policy.deadline_s is None else self.began + policy.deadline_s

    def check_more(self, judge: Judge, policy: Policy) -> None:
        """Raise an error if a retry gets other input and a profile is to judge it, or is to damp.

        A profile knows what comes out of one question, or of asking the same again: of several
        questions, the least risky answer is right more or less often than its P(wrong) says.
        """
        if self.asks_more and policy.retries and "damp" in policy.retry:
            raise ConfigError(
                "a retry with other input (more) damps no neurons",
                'Leave out `more`, or "damp" in the policy\'s retry.',
            )
        if self.asks_more and policy.retries and judge.profile is not None:
            raise MismatchError(
                "a retry with other input (more) has no P(wrong): no profile is made from such",
                "Give guarded(…) a policy on scores, or leave out `more` or the retries.",
            )

    def begin(self) -> ChainRun:
        """Run the chain, once more perhaps."""
        with self.lock:
            self.runs.append(ChainRun(self, self.runs[-1] if self.runs else None))
            return self.runs[-1]

    @contextmanager
    def telling(self, run_id: UUID) -> Iterator[None]:
        """Tell a guarded chain around what comes of this one, which is its run `run_id`."""
        try:
            yield
        except AnswerWithheldError as error:
            if self.outer is not None:
                self.outer.answers.withheld(error, run_id)
            raise
        if self.outer is not None:
            self.outer.answers.shown(run_id)

    @contextmanager
    def running(self) -> Iterator[ChainRun]:
        """Let the handlers of what runs inside find this call, in a new run of the chain."""
        run = self.begin()
        token = _run_here.set(run)
        try:
            yield run
        finally:
            _run_here.reset(token)


class ChainRun:
    """One run of the chain, which may call its model several times, also at once.

    A retry runs the whole chain again, and branches come in another order then: a call finds its
    earlier attempts by what it is asked. If each retry has other input, by its place.
    """

    def __init__(self, whole: GuardedCall, before: ChainRun | None) -> None:
        self.whole = whole
        self.policy = whole.policy
        self.answers = JudgedAnswers()
        self.wants_another = False
        self._before = before
        self._calls: list[ModelCall] = []
        self._number = len(whole.runs)

    def call(self, prompt: Hashable = None) -> ModelCall:
        """Note a call of a model."""
        with self.whole.lock:
            call = (prompt, sum(asked == prompt for asked, _ in self._calls))
            if self.whole.asks_more and call not in self.whole.withheld:
                self._go_on(call)
            self._calls.append(call)
            return call

    def earlier(self, call: ModelCall) -> list[Attempt]:
        """Attempts of the same call that were withheld."""
        return self.whole.withheld.get(call, [])

    def changes(self, call: ModelCall) -> Changes | None:
        """What this call is to do differently from its last attempt; None on the first."""
        return self.whole.changes.get(call)

    def decide(
        self, call: ModelCall, policy: Policy, new: Sequence[Attempt]
    ) -> tuple[list[Attempt], Move]:
        """Decide after an attempt; return all attempts of this call, and the move.

        The chain is run again as often as the policy retries, whichever calls want that. Nobody
        waits for a branch that goes on when its run is over: what it decides counts no more.
        """
        whole = self.whole
        with whole.lock:
            if whole.runs[-1] is not self:
                return list(new), final_move(policy, new)
            earlier = self.earlier(call)
            others = self._number - len(earlier)
            over = time.monotonic() >= whole.deadline(policy)
            retries = 0 if over else max(0, policy.retries - others)
            left = policy.model_copy(update={"retries": retries})
            attempts = [*earlier, *new]
            move = next_move(left, attempts)
            if isinstance(move, Again):
                self.wants_another = True
                whole.withheld[call] = attempts
                whole.changes[call] = move.changes
            return attempts, move

    def judge_for(self, judge: Judge, mode: Literal["chat", "raw"], info: ModelInfo) -> Judge:
        """The judge for this way of asking, under the policy of the guarded call if it has one.

        Rules that nobody gave make room for thresholds on scores, as in `Judge.assemble`. Raises
        ConfigError and MismatchError if the policy does not fit detector or profile.
        """
        if self.policy is None:
            judge = judge.for_asking(mode)
            self.whole.check_more(judge, judge.policy)
            return judge
        if judge.found and self.policy.on == "score":
            mine = (None, None) if judge.profile else (judge.detector.name, judge.locator)
            other = Judge.assemble(
                self.policy, detector=self.policy.detector or mine[0], locator=mine[1]
            )
        else:
            judge = judge.for_asking(mode)
            other = Judge.assemble(
                self.policy,
                detector=judge.chosen,
                locator=judge.locator,
                profile=judge.profile,
            )
            other = replace(other, notes=judge.notes)
        other.check_model(info)
        self.whole.check_more(other, self.policy)
        return other

    def _go_on(self, call: ModelCall) -> None:
        """Let a call with a new prompt continue the call in its place, if that was withheld."""
        before = self._before._calls if self._before else []
        old = before[len(self._calls)] if len(self._calls) < len(before) else call
        if old in self.whole.withheld:
            self.whole.withheld[call] = self.whole.withheld.pop(old)
            self.whole.changes[call] = self.whole.changes.pop(old)


_run_here: ContextVar[ChainRun | None] = ContextVar("energy_guard_chain_run", default=None)


def current_run() -> ChainRun:
    """The run of the guarded chain around this; one of its own if no `guarded` is around."""
    return _run_here.get() or GuardedCall().begin()


def is_guarded() -> bool:
    """Whether a `guarded` stands around this run: it acts on `AnswerWithheldError`."""
    return _run_here.get() is not None
