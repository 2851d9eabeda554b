"""What a `guarded` chain and the handlers inside it know of each other while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from energy_guard import Policy
from energy_guard.decide import Again, Attempt, Changes, Move, next_move


class Trial:
    """All attempts of one call of a guarded chain.

    A chain may call its model several times, and a retry runs the whole chain again: attempts
    are kept by the number of the call within the chain. policy: in the place of the handlers'
    own, where it is given.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy
        self._calls = 0
        self._withheld: dict[int, list[Attempt]] = {}
        self._changes: dict[int, Changes] = {}

    def call(self) -> int:
        """Count a call of a model."""
        self._calls += 1
        return self._calls - 1

    def retry(self) -> None:
        """The chain runs from its beginning."""
        self._calls = 0

    def earlier(self, call: int) -> list[Attempt]:
        """Attempts of the same call that were withheld."""
        return self._withheld.get(call, [])

    def changes(self, call: int) -> Changes | None:
        """What this call is to do differently from its last attempt; None on the first."""
        return self._changes.get(call)

    def decide(self, call: int, policy: Policy, attempt: Attempt) -> tuple[list[Attempt], Move]:
        """Decide after an attempt; return all attempts of this call, and the move.

        The retries of all calls together are bounded by the policy's.
        """
        attempts = [*self.earlier(call), attempt]
        others = sum(map(len, self._withheld.values())) - len(attempts) + 1
        left = policy.model_copy(update={"retries": max(0, policy.retries - others)})
        move = next_move(left, attempts)
        if isinstance(move, Again):
            self._withheld[call] = attempts
            self._changes[call] = move.changes
        return attempts, move

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
    """Whether a `guarded` stands around this run, which catches what is raised here."""
    return _current.get() is not None
