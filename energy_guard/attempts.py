"""Attempts on an engine that is held: what the model says, followed to its end and judged there.

Answers that are written now and answers that exist already go the same way.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace

from energy_guard.backends import Backend, Session
from energy_guard.decide import Again, Attempt, Changes, Move, next_move
from energy_guard.errors import ConfigError, PromptError
from energy_guard.events import AttemptStarted, GuardEvent, Retracted, Text
from energy_guard.judge import Judge
from energy_guard.neurons.damping import switched_off
from energy_guard.neurons.watch import watched
from energy_guard.prompts import Answer
from energy_guard.release import Release, SentenceRelease
from energy_guard.request import Event, Finished, Request
from energy_guard.result import shows
from energy_guard.running import Running, Window
from energy_guard.support import with_support
from energy_guard.trace import INCOMPLETE


@contextmanager
def opened(backend: Backend, judge: Judge, request: Request | None = None) -> Iterator[Session]:
    """Hold an engine, and look into it as far as the judge needs that.

    Args:
        backend: the engine.
        judge: its neurons are watched.
        request: waiting ends with it, see `Backend.session`.

    Raises:
        EngineBusyError: the engine stays in use.
        EngineError: there is no memory for looking into it.
    """
    with backend.session(request) as session:
        if judge.neurons is None:
            yield session
            return
        with watched(backend, session, judge.neurons) as seen:
            yield seen


@dataclass(frozen=True)
class Hearing:
    """One question before a judge, while its engine is held.

    request: what was asked first. Retries ask something else, and are judged by this all the same.
    """

    judge: Judge
    backend: Backend
    session: Session
    request: Request

    def attempts(
        self, earlier: Sequence[Attempt], *, heard: bool, release: Release
    ) -> Generator[GuardEvent, None, tuple[list[Attempt], Move]]:
        """Let the model answer, and again if the policy says so; return how far that got.

        The last move is `Again` only if another guard is to be asked.

        Args:
            earlier: the attempts of other guards, which tried before.
            heard: whether somebody listens to the text while it is written.
            release: when text is let go.
        """
        attempts: list[Attempt] = []
        request, changes = self.request, Changes()
        while True:
            number = len(earlier) + len(attempts)
            yield AttemptStarted(number)
            running = self.follow(request, number, heard=heard)
            events = self.session.generate([running.request], steps=running.wants_steps)
            texts = fed([running], events)
            held = SentenceRelease(self.judge, self.request, running)
            with self.damped(changes):
                yield from held.let_go(texts) if release == "sentence" else texts
            attempts.append(self.assess(running))
            move = next_move(self.judge.policy, attempts)
            if not isinstance(move, Again):
                if shows(move) and move.attempt == len(attempts) - 1:
                    yield from held.rest()
                return attempts, move
            yield self.retracted(attempts, move, earlier=earlier)
            if move.changes.fallback:
                return attempts, move
            request, changes = self.retry(attempts, move), move.changes

    def damped(self, changes: Changes) -> AbstractContextManager[None]:
        """Return what an attempt with these changes is written in."""
        if not changes.damp:
            return nullcontext()
        if self.judge.neurons is None:
            raise ConfigError("a retry switches H-neurons off, and the judge has no probe")
        return switched_off(self.backend, self.session, self.judge.neurons)

    def retracted(
        self, attempts: Sequence[Attempt], move: Again, *, earlier: Sequence[Attempt]
    ) -> Retracted:
        """Return the event between an attempt and the next one.

        Args:
            attempts: those so far.
            move: how the next one differs.
            earlier: attempts of other guards, which tried before.
        """
        info, final = self.backend.info, self.judge.final(attempts)
        judged = self.judge.conclude(
            attempts, final, info=info, earlier=earlier, request=self.request
        )
        number = len(earlier) + len(attempts) - 1
        unquoted = f"withheld: {judged.unquoted_reason}"
        return Retracted(number, move.reason, unquoted=unquoted, again=move, judged=judged)

    def retry(self, attempts: Sequence[Attempt], move: Again) -> Request:
        """Return what the next attempt asks; feedback for which there is no room is left out.

        Args:
            attempts: those so far.
            move: how the next one differs.
        """
        changes = move.changes.that_fit(self.request, attempts, measure=self.backend.measure)
        return changes.apply(self.request, attempts)

    def follow(self, request: Request, number: int, *, heard: bool) -> Running:
        """Return what follows one attempt, with the policy's rule for running answers."""
        window, rule, reasoning = None, self.judge.policy.early_stop, False
        if heard or rule is not None:
            reasoning = self.backend.measure(request).opens_reasoning
        if rule is not None:
            window = Window(rule, self.judge.detector, reasoning=reasoning)
        return Running(
            number,
            request,
            detector=self.judge.detector,
            window=window,
            heard=heard,
            reasoning_open=reasoning,
        )

    def assess(self, running: Running, *, given: bool = False) -> Attempt:
        """Judge an attempt that has ended; the locator may ask the model in the same session.

        Args:
            running: what followed it.
            given: whether the answer existed already. It is all that was said, not cut off.
        """
        trace = running.trace
        if given and trace.finish_reason == "length":
            trace = replace(trace, finish_reason="stop")
        if wanted := self.judge.measures_support:
            trace = with_support(self.session, self.request, trace, wanted)
        return self.judge.assess(trace, self.request, ask=self._ask, stopped=running.stopped)

    def _ask(self, prompt: str) -> str:
        """Ask the model on the side, unseen by captures."""
        asked = self.request
        make = Request.raw if asked.mode == "raw" else Request.chat
        side = make(prompt, cancel=asked.cancel, deadline=asked.deadline, max_tokens=64)
        events = self.session.generate([side], private=True, steps=False)
        trace = next(e.trace for e in events if isinstance(e, Finished))
        if trace.finish_reason in INCOMPLETE:
            raise PromptError(f"the reply is not complete ({trace.finish_reason})")
        return "" if trace.finish_reason == "length" else trace.text


def replayed(
    session: Session, hearings: Sequence[Hearing], answers: Sequence[Answer], *, fast: bool
) -> list[Attempt]:
    """Judge answers that exist already, one for each hearing; a backend may replay several at once.

    Args:
        session: the session of all hearings.
        hearings: the questions.
        answers: the answer to each of them.
        fast: see `Session.replay`.
    """
    running = [hearing.follow(hearing.request, 0, heard=False) for hearing in hearings]
    pairs = [(each.request, answer) for each, answer in zip(running, answers, strict=True)]
    steps = any(each.wants_steps for each in running)
    for _ in fed(running, session.replay(pairs, fast=fast, steps=steps)):
        pass  # nobody hears a text that is known
    return [
        hearing.assess(each, given=True) for hearing, each in zip(hearings, running, strict=True)
    ]


def fed(
    running: Sequence[Running], events: Generator[Event, None, None]
) -> Generator[Text | Retracted, None, None]:
    """Give each event to the attempt that it is of; yield the texts that settle.

    Args:
        running: the attempts, by the number of their sequence.
        events: of the engine. They are closed with whoever listens, so that it stops there.
    """
    with closing(events):
        for event in events:
            yield from running[event.sequence].feed(event)
