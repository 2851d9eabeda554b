"""Questions that are asked at once: the first answers of all, then the retries of some, and so on.

Knows nothing of guards. An engine that can writes the answers of a wave as one batch.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice

from energy_guard.attempts import Hearing, fed, opened
from energy_guard.backends import Backend, Session
from energy_guard.decide import Again, Attempt, Changes, Move, next_move
from energy_guard.errors import EnergyGuardError, EngineError, InputError
from energy_guard.events import AttemptStarted, Done, GuardEvent
from energy_guard.judge import Judge
from energy_guard.request import CancelToken, Request
from energy_guard.result import Result
from energy_guard.trace import FinishReason


class WaveQuestion:
    """One of the questions that `ask_wave` asks, each with its own judge, deadline and cancel."""

    def __init__(self, judge: Judge, backend: Backend, request: Request) -> None:
        self.judge = judge
        self.backend = backend
        self.request = request
        self.error: EnergyGuardError | None = None
        self.told: list[GuardEvent] = []
        self.made: list[Attempt] = []
        self.move: Move | None = None

    def attempts(self) -> Generator[GuardEvent, None, tuple[list[Attempt], Move]]:
        """Yield what `Hearing.attempts` yields, without texts: the first event before the wave.

        Raises:
            EnergyGuardError: whatever this question failed of.
        """
        yield AttemptStarted(0)
        if self.error is not None:
            raise self.error
        if self.move is None:
            raise EngineError("the wave that this question was in broke off")
        yield from self.told
        return self.made, self.move


class _InWork:
    """A question while its wave is asked. request: what it asks next."""

    def __init__(self, question: WaveQuestion, session: Session) -> None:
        self.question = question
        self.hearing = Hearing(question.judge, question.backend, session, question.request)
        self.request, self.changes = question.request, Changes()
        self.running = self.hearing.follow(self.request, 0, heard=False)

    def judged(self) -> bool:
        """Judge what was written; return whether it is to be tried again, in the same session."""
        question, hearing = self.question, self.hearing
        question.made.append(hearing.assess(self.running))
        question.move = next_move(question.judge.policy, question.made)
        if not isinstance(question.move, Again):
            return False
        question.told.append(hearing.retracted(question.made, question.move, earlier=()))
        if question.move.changes.fallback:
            return False
        self.request = hearing.retry(question.made, question.move)
        self.changes = question.move.changes
        number = len(question.made)
        question.told.append(AttemptStarted(number))
        self.running = hearing.follow(self.request, number, heard=False)
        return True


class _NobodyWaits(CancelToken):
    """Cancelled as soon as all of some requests are cancelled or out of time."""

    def __init__(self, requests: Sequence[Request]) -> None:
        super().__init__()
        self._requests = requests

    @property
    def reason(self) -> FinishReason | None:
        return "cancelled" if all(each.interrupted for each in self._requests) else None


def ask_wave(questions: Sequence[WaveQuestion]) -> None:
    """Ask all of them in one session; what came of each is in it then.

    Args:
        questions: of one engine. One that cannot be asked does not keep the others from it.
    """
    together = [question for question in questions if question.judge.neurons is None]
    # Neurons are watched, and damped, while a single question is asked.
    alone = [[question] for question in questions if question.judge.neurons is not None]
    for group in [together, *alone] if together else alone:
        requests = [question.request for question in group]
        waiting = replace(requests[0], cancel=_NobodyWaits(requests), deadline=None)
        try:
            with opened(group[0].backend, group[0].judge, waiting) as session:
                _ask(group, session)
        except EngineError as error:  # nothing was asked
            for question in group:
                question.error = error


def results_in_waves(
    joined: Iterator[tuple[WaveQuestion, Iterable[GuardEvent]]], size: int
) -> Iterator[Result]:
    """Ask questions of one engine in waves of a size; yield the results in order.

    Args:
        joined: each question with its events, see `Guard.question`.
        size: how many are asked at once.

    Raises:
        EnergyGuardError: whatever a question failed of, when it is its turn.
    """
    refused: EnergyGuardError | None = None
    while refused is None:
        wave = []
        try:
            for question in islice(joined, size):
                wave.append(question)  # what came before an error is kept
        except EnergyGuardError as error:
            refused = error
        if not wave:
            break
        ask_wave([question for question, _ in wave])
        # All of them at once, so that logs and spans have them, whoever still listens.
        for outcome in [outcome_of(events) for _, events in wave]:
            if isinstance(outcome, EnergyGuardError):
                raise outcome
            yield outcome
    if refused is not None:
        raise refused


def result_of(events: Iterable[GuardEvent]) -> Result:
    """Run the events of a question to their end, and return what comes last."""
    *_, done = events
    if not isinstance(done, Done):
        raise EngineError("the stream ended without a result")
    return done.result


def outcome_of(events: Iterable[GuardEvent]) -> Result | EnergyGuardError:
    """Run the events of a question to their end; return the result, or what it failed of."""
    try:
        return result_of(events)
    except EnergyGuardError as error:
        return error


def _ask(questions: Sequence[WaveQuestion], session: Session) -> None:
    asked: list[_InWork] = []
    for question in questions:
        try:
            asked.append(_InWork(question, session))
        except EnergyGuardError as error:
            question.error = error
    while asked:
        again: list[_InWork] = []
        for each in _written(asked, session):
            try:
                if each.judged():
                    again.append(each)
            except EnergyGuardError as error:
                each.question.error = error
        asked = again


def _written(asked: Sequence[_InWork], session: Session) -> list[_InWork]:
    """Let the engine write their next answers; return those of which there is one."""
    try:
        _write(asked, session)
    except InputError as error:
        # The engine has refused one before it began; none of the others is to miss its answer.
        if len(asked) > 1:
            return [each for one in asked for each in _written([one], session)]
        asked[0].question.error = error
    except EnergyGuardError as error:  # of what the engine had written by then nothing is lost
        for each in asked:
            each.question.error = None if each.running.finished else error
    return [each for each in asked if each.question.error is None]


def _write(asked: Sequence[_InWork], session: Session) -> None:
    running = [each.running for each in asked]
    steps = any(each.wants_steps for each in running)
    with ExitStack() as stack:
        for each in asked:
            stack.enter_context(each.hearing.damped(each.changes))
        for _ in fed(running, session.generate([each.request for each in running], steps=steps)):
            pass  # nobody hears a text before the verdict
