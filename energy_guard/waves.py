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
from energy_guard.errors import EnergyGuardError, EngineBusyError, EngineError, InputError
from energy_guard.events import AttemptStarted, Done, GuardEvent
from energy_guard.judge import Judge
from energy_guard.request import CancelToken, Request
from energy_guard.result import Result
from energy_guard.trace import FinishReason


class WaveQuestion:
    """One of the questions that are asked in waves, each with its own judge, deadline and cancel.

    asks, changes: what it asks next, and how that differs from what was asked first. fallback: the
    engine that is asked if the policy says so. begun: it is its turn in an engine's thread, where
    its deadline ends whatever is done for it.
    """

    def __init__(
        self, judge: Judge, backend: Backend, request: Request, fallback: Backend | None = None
    ) -> None:
        self.judge = judge
        self.backend = backend
        self.request = request
        self.fallback = fallback
        self.asks = request
        self.changes = Changes()
        self.begun = False
        self.error: EnergyGuardError | None = None
        self.told: list[GuardEvent] = []
        self.made: list[Attempt] = []
        self.move: Move | None = None

    @property
    def falls_back(self) -> bool:
        """Whether it is settled here, and another guard is to be asked."""
        return self.error is None and isinstance(self.move, Again)

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
    """A question while a wave is asked."""

    def __init__(self, question: WaveQuestion, session: Session) -> None:
        self.question = question
        self.hearing = Hearing(question.judge, question.backend, session, question.request)
        self.running = self.hearing.follow(question.asks, len(question.made), heard=False)

    def judged(self) -> bool:
        """Judge what was written; return whether it is to be tried again, with the same engine."""
        question, hearing = self.question, self.hearing
        question.made.append(hearing.assess(self.running))
        question.move = move = next_move(question.judge.policy, question.made)
        if not isinstance(move, Again):
            return False
        question.told.append(hearing.retracted(question.made, move, earlier=()))
        if move.changes.fallback:
            return False
        question.asks, question.changes = hearing.retry(question.made, move), move.changes
        question.told.append(AttemptStarted(len(question.made)))
        return True


class _SomebodyLeaves(CancelToken):
    """Cancelled as soon as one of some requests is cancelled or out of time."""

    def __init__(self, requests: Sequence[Request]) -> None:
        super().__init__()
        self._requests = requests

    @property
    def reason(self) -> FinishReason | None:
        return "cancelled" if any(each.interrupted for each in self._requests) else None


def in_waves(questions: Sequence[WaveQuestion]) -> Iterator[list[WaveQuestion]]:
    """Ask all of them at once, then at once those that are to be tried again, and so on.

    Args:
        questions: of one engine. One that cannot be asked does not keep the others from it.

    Yields:
        After each wave those that it has settled, and whoever is out of time while the engine is
        in use. This thread does not hold the engine then, whatever is done with them.
    """
    together = [question for question in questions if question.judge.neurons is None]
    # Neurons are watched, and damped, while a single question is asked.
    alone = [[question] for question in questions if question.judge.neurons is not None]
    for asked in [together, *alone] if together else alone:
        while asked:
            again = _ask(asked)
            yield [question for question in asked if question not in again]
            asked = again


def results_in_waves(
    joined: Iterator[tuple[WaveQuestion, Iterable[GuardEvent]]], size: int
) -> Iterator[Result]:
    """Ask questions of one engine in waves of a size; yield the results in order.

    A result is yielded when it is settled with all those before it. Then other guards are asked
    for those whose policy says so.

    Args:
        joined: each question with its events, see `Guard.question`.
        size: how many are asked at once.

    Raises:
        EnergyGuardError: whatever a question failed of, when it is its turn.
    """
    refused: EnergyGuardError | None = None
    while refused is None:
        asked = dict[WaveQuestion, Iterable[GuardEvent]]()
        try:
            for question, events in islice(joined, size):
                asked[question] = events  # what came before an error is kept
        except EnergyGuardError as error:
            refused = error
        if not asked:
            break
        yield from _in_order(asked)
    if refused is not None:
        raise refused


def result_of(events: Iterable[GuardEvent]) -> Result:
    """Run the events of a question to their end, and return what comes last."""
    *_, done = events
    if not isinstance(done, Done):
        raise EngineError("the stream ended without a result")
    return done.result


def _in_order(asked: dict[WaveQuestion, Iterable[GuardEvent]]) -> Iterator[Result]:
    outcomes = dict[WaveQuestion, Result | EnergyGuardError]()
    waiting = list(asked)
    for settled in in_waves(waiting):
        # All of them at once, so that logs and spans have them, whoever still listens.
        for question in settled:
            if not question.falls_back:
                outcomes[question] = _outcome_of(asked[question])
        while waiting and waiting[0] in outcomes:
            yield _told(outcomes[waiting.pop(0)])
    outcomes |= {each: _outcome_of(asked[each]) for each in waiting if each not in outcomes}
    for question in waiting:
        yield _told(outcomes[question])


def _outcome_of(events: Iterable[GuardEvent]) -> Result | EnergyGuardError:
    try:
        return result_of(events)
    except EnergyGuardError as error:
        return error


def _told(outcome: Result | EnergyGuardError) -> Result:
    if isinstance(outcome, EnergyGuardError):
        raise outcome
    return outcome


def _ask(questions: Sequence[WaveQuestion]) -> list[WaveQuestion]:
    """Ask them in one session; return those that are to be asked once more.

    If one is out of time while the engine is in use, it is settled, and the others wait on.
    """
    for question in questions:
        question.begun = True
    requests = [question.asks for question in questions]
    waiting = replace(requests[0], cancel=_SomebodyLeaves(requests), deadline=None)
    again: list[WaveQuestion] = []
    try:
        with opened(questions[0].backend, questions[0].judge, waiting) as session:
            for each in _written(_begun(questions, session), session):
                try:
                    if each.judged():
                        again.append(each.question)
                except EnergyGuardError as error:
                    each.question.error = error
    except EngineError as error:  # nothing was asked
        busy = isinstance(error, EngineBusyError)
        left = [each for each in questions if busy and each.asks.interrupted] or questions
        for question in left:
            question.error = error
        return [question for question in questions if question not in left]
    return again


def _begun(questions: Sequence[WaveQuestion], session: Session) -> list[_InWork]:
    begun: list[_InWork] = []
    for question in questions:
        try:
            begun.append(_InWork(question, session))
        except EnergyGuardError as error:
            question.error = error
    return begun


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
            stack.enter_context(each.hearing.damped(each.question.changes))
        for _ in fed(running, session.generate([each.request for each in running], steps=steps)):
            pass  # nobody hears a text before the verdict
