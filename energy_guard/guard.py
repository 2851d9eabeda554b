"""The path itself: generate → trace → locate → score → calibrate → decide → act."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Literal

from energy_guard.backends import Session, load
from energy_guard.decide import Again, Attempt, Move, next_move
from energy_guard.errors import ConfigError, EngineError, LogError, PromptError
from energy_guard.events import AttemptStarted, Done, GuardEvent, Retracted, Text
from energy_guard.judge import Judge
from energy_guard.log import Scoring, TraceLog
from energy_guard.policy import Policy
from energy_guard.profile import Profile
from energy_guard.request import Finished, Message, Request
from energy_guard.result import Result
from energy_guard.running import Running, Window
from energy_guard.score import Scorer
from energy_guard.trace import INCOMPLETE

Prompt = str | Sequence[Message] | Request
"""A question, the turns of a chat, or a complete request."""

Answer = str | Sequence[int]
"""A text, or token ids."""


class Guard:
    """A model with a guard over it.

    backend: anything that `load` takes. detector: as `Detector.parse` reads it. locator: as
    `energy_guard.locate.locator` reads it. policy: the profile's, or hand-set thresholds, unless
    given. profile: turns scores into P(wrong); the one that was made for this model is found
    by itself, where no detector, locator or thresholds on scores are given; None uses none.
    fallback: another guard, with its own model and policy, for policies that retry with it.
    log: where every result is appended.

    Raises MismatchError where policy or profile belong to another model, detector or locator.

    >>> from energy_guard.backends import Scripted
    >>> guard = Guard(Scripted.saying([("Par", 0.97), ("is", 0.99)]))
    >>> guard.ask("What is the capital of France?").verdict
    'accept'
    """

    def __init__(
        self,
        backend: object,
        policy: Policy | None = None,
        detector: str | None = None,
        locator: str | None = None,
        profile: Profile | Literal["auto"] | None = "auto",
        *,
        fallback: Guard | None = None,
        log: TraceLog | None = None,
    ) -> None:
        self.backend = load(backend)
        self.judge = Judge.assemble(policy, detector, locator, profile, self.backend.info)
        self.fallback = fallback
        self.log = log
        self.judge.check_model(self.backend.info)
        retry = self.policy.retry if self.policy.retries else ()
        if "fallback" in retry and fallback is None:
            raise ConfigError("the policy retries with a fallback", "Give the Guard a fallback.")

    @property
    def detector(self) -> Scorer:
        """What turns an answer's signals into its score."""
        return self.judge.detector

    @property
    def policy(self) -> Policy:
        """What turns a risk into a verdict."""
        return self.judge.policy

    def ask(self, prompt: Prompt, **options: Any) -> Result:
        """Ask, and return the outcome; options are those of `Request`."""
        request = self._timed(_request(prompt, options))
        for event in self.fitting(request)._stream(request, (), heard=False):
            if isinstance(event, Done):
                return event.result
        raise EngineError("the stream ended without a result")

    def ask_many(
        self, prompts: Iterable[Prompt], sharing: Sequence[Request] = ()
    ) -> Iterator[Result]:
        """Ask one after the other in one session, and yield the outcomes in order.

        sharing: requests that begin as all of these do: what they share is read once. Then no
        outcome depends on what was asked before it.
        """
        with self.backend.session() as session:
            beginning = session.beginning(sharing) if sharing else []
            for prompt in prompts:
                if sharing:
                    session.rewind(beginning)
                request = self._timed(_request(prompt, {}))
                guard = self.fitting(request)
                attempts, move = _outcome(guard._attempt(session, request, 0, heard=False))
                for event in guard._concluded(request, attempts, move, (), heard=False):
                    if isinstance(event, Done):
                        yield event.result

    def stream(self, prompt: Prompt, **options: Any) -> Generator[GuardEvent, None, None]:
        """Ask, and yield events while the model writes; the last one is `Done`.

        The engine is held until then, or until the generator is closed.
        """
        request = self._timed(_request(prompt, options))
        yield from self.fitting(request)._stream(request, ())

    def score(self, prompt: Prompt, answer: Answer, fast: bool = False) -> Result:
        """Judge an answer that exists already, as text or token ids, by replaying it.

        Token by token, so that the numbers are those of live decoding; `fast` evaluates many
        tokens at once, with numbers (and so profiles and thresholds) of its own.
        """
        return next(iter(self.score_many([(prompt, answer)], fast)))

    def score_many(
        self, pairs: Iterable[tuple[Prompt, Answer]], fast: bool = False
    ) -> Iterator[Result]:
        """Judge answers that exist already, see `score`; yield the results in order.

        A backend that can evaluates several at once.
        """
        scoring: Scoring = "fast" if fast else "token-by-token"
        asked = [(self._timed(_request(prompt, {})), answer) for prompt, answer in pairs]
        if not asked:
            return
        guards = [self.fitting(request, scoring, alone=True) for request, _ in asked]
        running = []
        for guard, (request, _) in zip(guards, asked, strict=True):
            window = guard._window(request)
            running.append(Running(0, request, guard.detector, window, heard=False))
        with self.backend.session(asked[0][0]) as session:
            whole = [
                (replace(request, cancel=run.cancel), answer)
                for (request, answer), run in zip(asked, running, strict=True)
            ]
            wants_steps = any(run.wants_steps for run in running)
            for event in session.replay(whole, fast, wants_steps):
                for _ in running[event.sequence].feed(event):
                    pass
            attempts = [
                guard.judge.assess(run.trace, request, self._asker(session, request), run.stopped)
                for guard, (request, _), run in zip(guards, asked, running, strict=True)
            ]
        for guard, (request, _), attempt in zip(guards, asked, attempts, strict=True):
            move = guard.judge.final([attempt])
            result = guard.judge.conclude([attempt], move, self.backend.info, request=request)
            self._keep(request, result, guard.judge.locator, scoring)
            yield result

    def fitting(
        self, request: Request, scoring: Scoring = "token-by-token", alone: bool = False
    ) -> Guard:
        """Return the guard for this way of asking: with hand-set rules, and a note that says so,
        where a profile that was found by itself is for another way.

        Raises MismatchError where the profile was asked for.
        """
        judge = self.judge.fitting(request.mode, scoring, alone)
        if judge is self.judge:
            return self
        other = copy(self)
        other.judge = judge
        return other

    def _stream(
        self, request: Request, earlier: tuple[Attempt, ...], heard: bool = True
    ) -> Generator[GuardEvent, None, None]:
        """Yield the events of one question; without their texts where they are not `heard`."""
        with self.backend.session(request) as session:
            attempts, move = yield from self._attempt(session, request, len(earlier), heard)
        yield from self._concluded(request, attempts, move, earlier, heard)

    def _attempt(
        self, session: Session, request: Request, number: int, heard: bool
    ) -> Generator[GuardEvent, None, tuple[list[Attempt], Move]]:
        """Let the model answer, again where the policy says so; return how far that got."""
        attempts: list[Attempt] = []
        current = request
        while True:
            yield AttemptStarted(number)
            running = Running(number, current, self.detector, self._window(current), heard)
            yield from self._run(session, current, running)
            ask = self._asker(session, request)
            attempts.append(self.judge.assess(running.trace, request, ask, running.stopped))
            move = next_move(self.policy, attempts)
            if not isinstance(move, Again):
                return attempts, move
            yield Retracted(number, move.reason)
            if move.changes.fallback:
                return attempts, move
            number += 1
            changes = move.changes.that_fit(request, attempts, self.backend.measure)
            current = changes.apply(request, attempts)

    def _concluded(
        self,
        request: Request,
        attempts: list[Attempt],
        move: Move,
        earlier: tuple[Attempt, ...],
        heard: bool,
    ) -> Generator[GuardEvent, None, None]:
        """Conclude, or hand over to the fallback."""
        if isinstance(move, Again):
            if self.fallback is None:
                raise ConfigError("the policy retries with a fallback and there is none")
            yield from self._ask_fallback(self.fallback, request, (*earlier, *attempts), heard)
            return
        result = self.judge.conclude(attempts, move, self.backend.info, earlier, request)
        self._keep(request, result, self.judge.locator)
        if not result.shown or result.kept is not attempts[-1]:
            yield Retracted(len(earlier) + len(attempts) - 1, result.reason)
        yield Done(result)

    def _window(self, request: Request) -> Window | None:
        """What watches the running answer, where the policy has a rule for it."""
        if self.policy.early_stop is None:
            return None
        reasoning = self.backend.measure(request).opens_reasoning
        return Window(self.policy.early_stop, self.detector, reasoning)

    def _run(
        self, session: Session, request: Request, running: Running
    ) -> Generator[Text, None, None]:
        whole = replace(request, cancel=running.cancel)
        events = session.generate([whole], steps=running.wants_steps)
        try:
            for event in events:
                yield from running.feed(event)
        finally:
            events.close()

    def _asker(self, session: Session, request: Request) -> Callable[[str], str]:
        """For a locator that asks the model itself, in the session of the answer, unseen."""
        make = Request.raw if request.mode == "raw" else Request.chat

        def ask(prompt: str) -> str:
            side = make(prompt, cancel=request.cancel, deadline=request.deadline, max_tokens=64)
            events = session.generate([side], private=True, steps=False)
            trace = next(e.trace for e in events if isinstance(e, Finished))
            if trace.finish_reason in INCOMPLETE:
                raise PromptError(f"the reply is not complete ({trace.finish_reason})")
            return "" if trace.finish_reason == "length" else trace.text

        return ask

    def _ask_fallback(
        self, fallback: Guard, request: Request, earlier: tuple[Attempt, ...], heard: bool
    ) -> Generator[GuardEvent, None, None]:
        """Hand over to the other guard, with its own rules; its result is ours as well."""
        request = fallback._timed(request)
        for event in fallback.fitting(request)._stream(request, earlier, heard):
            if isinstance(event, Done) and fallback.log is not self.log:
                self._keep(request, event.result, fallback.judge.locator)
            yield event

    def _keep(
        self,
        request: Request,
        result: Result,
        locator: str,
        scoring: Scoring = "token-by-token",
    ) -> None:
        if self.log is None:
            return
        try:
            self.log.append(request, result, locator, scoring)
        except LogError as error:
            error.result = result  # it is not to be lost with its line
            raise

    def _timed(self, request: Request) -> Request:
        """Start the clock."""
        if self.policy.deadline_s is None:
            return request
        deadline = time.monotonic() + self.policy.deadline_s
        return replace(request, deadline=min(deadline, request.deadline or deadline))


def _outcome(
    steps: Generator[GuardEvent, None, tuple[list[Attempt], Move]],
) -> tuple[list[Attempt], Move]:
    """Run to the end, and return what that returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: tuple[list[Attempt], Move] = end.value
            return outcome


def _request(prompt: Prompt, options: dict[str, Any]) -> Request:
    if isinstance(prompt, Request):
        return replace(prompt, **options)
    return Request.chat(prompt, **options)
