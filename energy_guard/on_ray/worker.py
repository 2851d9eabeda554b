"""One of many processes that ask: it loads the model, and answers a question at a time.

Knows nothing of Ray: whatever starts a `Worker` elsewhere needs no more than its three methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any, Self

from energy_guard.backends import Backend, ModelInfo, PromptSize
from energy_guard.errors import EngineError, InputError
from energy_guard.guard import Guard
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.policy import Policy
from energy_guard.profile import Profile
from energy_guard.questions.ask import ask_here, made_with
from energy_guard.questions.replies import Failed, WorkerReply, digest_of
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import Wordings
from energy_guard.request import Request


@dataclass(frozen=True, kw_only=True)
class WayOfAsking:
    """How a guard asks and judges, without its engine: what a worker makes its own guard from.

    wordings, rule: as `questions.ask.collect` takes them.
    """

    policy: Policy
    detector: str | NeuronProbe
    locator: str
    profile: Profile | None
    support: frozenset[str]
    neurons: NeuronProbe | None
    wordings: Wordings
    rule: str

    @classmethod
    def of(cls, guard: Guard, wordings: Wordings, rule: str) -> Self:
        """Take what a worker needs to know of a guard."""
        judge = guard.judge
        return cls(
            policy=judge.policy,
            detector=judge.chosen,
            locator=judge.locator,
            profile=judge.profile,
            support=judge.support,
            neurons=judge.neurons,
            wordings=dict(wordings),  # a read-only view cannot be pickled
            rule=rule,
        )

    def over(self, backend: Backend) -> Guard:
        """Return the guard over an engine."""
        guard = Guard(
            backend,
            self.policy,
            detector=self.detector,
            locator=self.locator,
            profile=self.profile,
        )
        judge = replace(guard.judge, support=self.support, neurons=self.neurons)
        return guard.with_judge(judge)


@dataclass(frozen=True, kw_only=True)
class Introduction:
    """What a worker says of itself before it is asked anything.

    version: of this package there. engine: what of the engine moves its numbers.
    """

    version: str
    info: ModelInfo
    exact_signals: frozenset[str]
    replays: bool
    takes_tools: bool

    @property
    def facts(self) -> dict[str, object]:
        """What all workers of one run have to agree in."""
        return {
            "version of energy-guard": self.version,
            "name": self.info.name,
            "fingerprint": self.info.fingerprint,
            "backend": self.info.backend,
            **{f"engine option {name}": value for name, value in self.info.engine.items()},
        }


class Worker:
    """Asks with a model of its own. open: loads it; the first call waits for that."""

    def __init__(self, open: Callable[[], Backend]) -> None:
        self._open = open
        self._way: WayOfAsking | None = None

    @cached_property
    def _backend(self) -> Backend:
        return self._open()

    def introduce(self) -> Introduction:
        """Load the model, and say which it is."""
        backend = self._backend
        return Introduction(
            version=version("energy-guard"),
            info=backend.info,
            exact_signals=backend.exact_signals,
            replays=backend.replays,
            takes_tools=backend.takes_tools,
        )

    def measure(self, request: Request) -> PromptSize:
        """Measure a prompt; see `Backend.measure`."""
        return self._backend.measure(request)

    def prepare(self, way: WayOfAsking) -> Mapping[str, Any]:
        """Ask in this way from now on; return all that answers depend on here."""
        self._way = way
        self._guard = way.over(self._backend)
        asked = made_with(self._guard, way.wordings, grader=None, rule=way.rule)
        made = self.introduce().facts | asked
        self._asked = digest_of(made)
        return made

    def ask(self, row: Question) -> WorkerReply:
        """Ask one question.

        Returns:
            The answer, graded by the rules; or the reason, if the question cannot be asked.

        Raises:
            EngineError: the engine failed, and may do so again.
        """
        way = self._way
        if way is None:
            raise EngineError("a worker was asked before it was told how")
        try:
            [[answered]] = ask_here(self._guard, [row], way.wordings, grader=None, rule=way.rule)
        except InputError as error:  # of the question: no other worker could ask it
            return WorkerReply(Failed.of(row.id, error), self._asked)
        return WorkerReply(answered.to_dict(), self._asked)
