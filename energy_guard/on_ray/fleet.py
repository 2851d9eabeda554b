"""Workers on Ray that ask labelled questions, one at a time each, and are replaced if they die."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Self

from energy_guard.backends import Backend, ModelInfo, PromptSize, Session
from energy_guard.errors import ConfigError, EngineError
from energy_guard.guard import Guard
from energy_guard.on_ray.cluster import Share, got
from energy_guard.on_ray.worker import Introduction, WayOfAsking, Worker
from energy_guard.questions.answered import Answered
from energy_guard.questions.ask import made_with
from energy_guard.questions.grade import Grader
from energy_guard.questions.model_grader import ModelGrader
from energy_guard.questions.replies import Failed, WorkerReply, check_alike, digest_of, merged
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import Wordings
from energy_guard.request import Request

_STARTS: Final = 3
"""How many workers in a row may fail to start before everything is given up."""

_TELL_S: Final = 60.0


class Elsewhere(Backend):
    """A model that workers have loaded: known here, and not to be asked here."""

    def __init__(
        self, introduction: Introduction, measure: Callable[[Request], PromptSize]
    ) -> None:
        self._introduction = introduction
        self._measure = measure

    @property
    def info(self) -> ModelInfo:
        """That of the first worker; the others are held against it."""
        return self._introduction.info

    @property
    def exact_signals(self) -> frozenset[str]:
        """Those of the workers' engine."""
        return self._introduction.exact_signals

    @property
    def replays(self) -> bool:
        """Whether the workers' engine does."""
        return self._introduction.replays

    @property
    def takes_tools(self) -> bool:
        """Whether the workers' model does."""
        return self._introduction.takes_tools

    def measure(self, request: Request) -> PromptSize:
        """Have a worker measure it."""
        return self._measure(request)

    def session(self, request: Request | None = None) -> AbstractContextManager[Session]:
        """Raise ConfigError: nothing is asked here."""
        raise ConfigError(
            f"{self.info.name} is loaded by workers, and this asks in one process",
            "Leave --on out for it.",
        )


class Fleet:
    """Workers that load the same model, each in a process of its own; see `started`.

    open: loads the model; it has to be possible to pickle it. share: what each worker gets. tell:
    called with what whoever waits should know.

    Each worker is asked one question at a time, so that it is known which one it died of.
    """

    def __init__(
        self, open: Callable[[], Backend], workers: int, share: Share, tell: Callable[[str], None]
    ) -> None:
        import ray

        self._kind: Any = ray.remote(Worker).options(
            num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=0, max_task_retries=0
        )
        self._open = open
        self._tell = tell
        self._actors: list[Any] = [self._kind.remote(open) for _ in range(workers)]
        self._failed_starts = 0
        self._introduced: Introduction = got(self._actors[0].introduce.remote())

    @classmethod
    @contextmanager
    def started(
        cls,
        open: Callable[[], Backend],
        *,
        workers: int,
        share: Share,
        tell: Callable[[str], None],
    ) -> Iterator[Self]:
        """Start workers, until the block ends; the arguments are those of the class.

        Raises:
            EnergyGuardError: the model cannot be loaded.
        """
        fleet = cls(open, workers, share, tell)
        try:
            yield fleet
        finally:
            fleet._end()

    @property
    def backend(self) -> Backend:
        """The model, for whoever has to know which it is."""
        return Elsewhere(self._introduced, lambda r: got(self._actors[0].measure.remote(r)))

    def ask(
        self,
        guard: Guard,
        rows: Sequence[Question],
        wordings: Wordings,
        *,
        grader: Grader | ModelGrader | None,
        rule: str,
    ) -> Iterator[list[Answered | Failed]]:
        """Ask questions; see `questions.ask.Ask`.

        A question at which a worker breaks is asked once more, by a new one.

        Args:
            guard: over `backend`.
            rows: what is asked.
            wordings: as in `collect`.
            grader: none: workers grade by the rules.
            rule: as in `collect`.

        Raises:
            ConfigError: there is a grader.
            MismatchError: a worker has another model, or other versions.
            EngineError: no worker can be started any more.
        """
        if grader is not None:
            raise ConfigError("workers grade by the rules, and a grader was given", "Leave it out.")
        way = WayOfAsking.of(guard, wordings, rule)
        made = self._introduced.facts | made_with(guard, wordings, grader=None, rule=rule)
        yield from merged(self._replies(rows, way, made), rows, asked=digest_of(made))

    def _replies(
        self, rows: Sequence[Question], way: WayOfAsking, made: Mapping[str, Any]
    ) -> Iterator[list[WorkerReply]]:
        """Yield what comes back, in whatever order; each row is asked twice at most."""
        waiting, again = deque(rows), set[str]()
        idle: list[Any] = []
        # What each worker does: a row, or None while it loads the model and is told how to ask.
        running: dict[Any, tuple[Any, Question | None]] = {
            actor.prepare.remote(way): (actor, None) for actor in self._actors
        }
        came: list[WorkerReply] = []
        while waiting or any(asked for _, asked in running.values()):
            while idle and waiting:
                actor, row = idle.pop(), waiting.popleft()
                running[actor.ask.remote(row)] = actor, row
            yield came  # the workers go on while it is put on disk
            came = []
            for ref in self._ended(running):
                actor, asked = running.pop(ref)
                try:
                    said = got(ref)
                except EngineError as error:
                    if asked is None:
                        self._count_failed_start(error)
                    elif asked.id in again:
                        came.append(WorkerReply(Failed.of(asked.id, error), digest_of(made)))
                    else:
                        again.add(asked.id)
                        waiting.append(asked)
                    actor = self._replaced(actor)
                    running[actor.prepare.remote(way)] = actor, None
                    continue
                idle.append(actor)
                if asked is None:
                    check_alike(made, said)
                    self._failed_starts = 0
                else:
                    came.append(said)
        yield came

    def _ended(self, running: Mapping[Any, tuple[Any, Question | None]]) -> list[Any]:
        """Wait for the first that ends, and return all that have ended by then."""
        import ray

        refs = list(running)
        while not ray.wait(refs, num_returns=1, timeout=_TELL_S)[0]:
            loading = sum(asked is None for _, asked in running.values())
            self._tell(f"waiting for {len(running)} workers, {loading} of them not ready yet")
        return list(ray.wait(refs, num_returns=len(refs), timeout=0)[0])

    def _count_failed_start(self, error: EngineError) -> None:
        self._failed_starts += 1
        if self._failed_starts == _STARTS:
            raise EngineError(
                f"workers do not start, {_STARTS} in a row: {error.message}",
                "What is answered is kept: go on with --resume.",
            ) from error

    def _replaced(self, actor: Any) -> Any:
        """End a worker whose engine is broken, and start another in its place."""
        import ray

        ray.kill(actor)
        new = self._kind.remote(self._open)
        self._actors[self._actors.index(actor)] = new
        return new

    def _end(self) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)
