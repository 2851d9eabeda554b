"""What a `guarded` chain, and the handlers and models inside it, know of each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from energy_guard import Policy, Result
from energy_guard.decide import Again, Attempt, Changes, Move, next_move
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
