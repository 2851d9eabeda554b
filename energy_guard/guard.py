"""The path itself: generate → trace → locate → score → calibrate → decide → act."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import replace
from itertools import chain
from typing import Annotated, Literal, Unpack

from pydantic import Field

from energy_guard.arguments import Filled, Several, checked
from energy_guard.asynchronous import iterate, run
from energy_guard.attempts import Hearing, opened, replayed
from energy_guard.backends import PromptSize, Session, load
from energy_guard.decide import Again, Attempt, FinalMove, Move
from energy_guard.errors import ConfigError, InputError, LogError
from energy_guard.events import Done, GuardEvent, Retracted
from energy_guard.judge import Judge
from energy_guard.log import Scoring, TraceLog
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.policy import Policy
from energy_guard.profile import Profile
from energy_guard.prompts import Answer, Prompt, answer_of, pair_of, request_of
from energy_guard.release import Release
from energy_guard.request import Request, RequestOptions
from energy_guard.result import Result
from energy_guard.score import Scorer
from energy_guard.telemetry import evaluated, traced
from energy_guard.waves import WaveQuestion, result_of, results_in_waves


class Guard:
    """A model with a guard over it.

    Args:
        backend: Anything that `load` takes.
        policy: The limits and what follows from them. Unless given, they are those of the profile,
            or limits that were set by hand.
        detector: A signal with a pooling (`nll:max`), a probe on this model's neurons, or
            `neurons:FILE.json`. Unless given, it is the profile's, or `nll:max`.
        locator: What finds the exact answer, one of `energy_guard.locate.LOCATORS`. Unless given,
            it is the profile's, or `automatic`.
        profile: What turns a score into P(wrong). `auto` finds the one that was made for this
            model, if no detector, locator or limits on scores are given. None uses none.
        fallback: Another guard, with its own model and policy, for policies that retry with it.
        log: The file to which every result is appended.
        support: Whether to measure how far answers rest on the passages that they are given
            (`Result.support`), even if the detector does not go by it.

    Raises:
        MismatchError: If policy or profile belong to another model, detector or locator.
        ConfigError: If the detector needs signals that the backend does not give, or the policy
            retries with a fallback that is not given.

    >>> from energy_guard.backends import Scripted
    >>> guard = Guard(Scripted.saying([("Par", 0.97), ("is", 0.99)]))
    >>> guard.ask("What is the capital of France?").verdict
    'accept'
    """

    @checked
    def __init__(
        self,
        backend: object,
        policy: Policy | None = None,
        *,
        detector: Filled | NeuronProbe | None = None,
        locator: Filled | None = None,
        profile: Profile | Literal["auto"] | None = "auto",
        fallback: Guard | None = None,
        log: TraceLog | None = None,
        support: bool = False,
    ) -> None:
        self.backend = load(backend)
        self.judge = Judge.assemble(
            policy,
            detector=detector,
            locator=locator,
            profile=profile,
            info=self.backend.info,
            support=support,
        )
        self.fallback = fallback
        self.log = log
        self.judge.check_backend(self.backend)
        retry = self.policy.retry if self.policy.retries else ()
        if "fallback" in retry and fallback is None:
            raise ConfigError("the policy retries with a fallback", "Give the Guard a fallback.")

    @property
    def fallback(self) -> Guard | None:
        """The other guard, for policies that retry with it.

        Raises:
            ConfigError: If it is set to one whose own fallbacks come back to this guard.

        """
        return self._fallback

    @fallback.setter
    def fallback(self, fallback: Guard | None) -> None:
        other = fallback
        while other is not None:
            if other is self:
                raise ConfigError(
                    "this guard would be its own fallback, and ask itself for ever",
                    "Give another guard, whose fallbacks do not lead back to this one.",
                )
            other = other.fallback
        self._fallback = fallback

    @property
    def detector(self) -> Scorer:
        """What turns an answer's signals into its score."""
        return self.judge.detector

    @property
    def policy(self) -> Policy:
        """What turns a risk into a verdict."""
        return self.judge.policy

    def ask(self, prompt: Prompt, **options: Unpack[RequestOptions]) -> Result:
        """Ask, and return the outcome.

        Args:
            prompt: A question, the turns of a chat, or a whole request.
            options: Settings of the request, by the names that `Request` has. They count more than
                those that it has already.

        Returns:
            The text that may be shown, its verdict, and all that it rests on.

        Raises:
            PromptError: If the prompt is empty or not valid text, or does not fit the context.
            InputError: If a setting is out of its range.
            EngineBusyError: If somebody else uses the engine for too long.
            EngineError: If the model fails.

        """
        guard, request = self._prepared(prompt, **options)
        return result_of(guard._events(request, heard=False))

    @checked
    def stream(
        self, prompt: Prompt, *, release: Release = "token", **options: Unpack[RequestOptions]
    ) -> Generator[GuardEvent, None, None]:
        """Ask, and yield events while the model writes; the last one is `Done`.

        The engine is held until then, or until the generator is closed.

        Args:
            prompt: As in `ask`.
            release: When text is yielded: `token` as it is written, `sentence` a sentence behind,
                and only if the answer would be shown had it ended there. `Done` is the same.
            options: As in `ask`.

        Yields:
            The events of `energy_guard.events`, in order.

        """
        guard, request = self._prepared(prompt, **options)
        yield from guard._events(request, release=release)

    async def aask(self, prompt: Prompt, **options: Unpack[RequestOptions]) -> Result:
        """Ask from an event loop, which goes on meanwhile, and return the outcome.

        Calls on one engine are served in the order in which they came. If the task is cancelled,
        the engine stops within one token and is free when the call ends.

        Args:
            prompt: As in `ask`.
            options: As in `ask`.

        """
        guard, request = self._prepared(prompt, **options)
        return await run(self.backend, request, lambda r: result_of(guard._events(r, heard=False)))

    @checked
    def astream(
        self, prompt: Prompt, *, release: Release = "token", **options: Unpack[RequestOptions]
    ) -> AsyncGenerator[GuardEvent, None]:
        """Ask from an event loop, and yield what `stream` yields.

        The engine writes on while the events are handled. It stops as in `aask` if the task is
        cancelled, and when the generator is closed: `contextlib.aclosing` does that at once.

        Args:
            prompt: As in `ask`.
            release: As in `stream`.
            options: As in `ask`.

        """
        guard, request = self._prepared(prompt, **options)
        return iterate(self.backend, request, lambda r: guard._events(r, release=release))

    @checked
    def ask_many(
        self,
        prompts: Annotated[Iterable[Prompt], Several],
        *,
        sharing: Sequence[Request] = (),
        at_once: Annotated[int, Field(ge=1)] = 1,
    ) -> Iterator[Result]:
        """Ask many questions, and yield the outcomes in order.

        Args:
            prompts: What is asked, each as in `ask`.
            sharing: Requests that begin as all of these do: what they share is read once. Then
                no outcome depends on what was asked before it. For questions one by one.
            at_once: How many are asked together. The last digits of numbers may differ then.

        Raises:
            InputError: If `sharing` is given for questions that are asked together.
            EnergyGuardError: Whatever a question failed of, when it is its turn.

        """
        if at_once > 1:
            if sharing:
                raise InputError("what questions share is read once if they are asked one by one")
            yield from results_in_waves(map(self.question, prompts), at_once)
            return
        prepared = map(self._prepared, prompts)
        first = next(prepared, None)
        if first is None:
            return
        with opened(self.backend, self.judge, first[1]) as session:
            beginning = session.beginning(sharing) if sharing else []
            for guard, request in chain([first], prepared):
                if sharing:
                    session.rewind(beginning)
                yield result_of(guard._events(request, held=session, heard=False))

    def question(
        self, prompt: Prompt, **options: Unpack[RequestOptions]
    ) -> tuple[WaveQuestion, Generator[GuardEvent, None, None]]:
        """Return a question that `in_waves` asks together with others of the same engine.

        Its time runs from now on, while it waits for the others, too.

        Args:
            prompt: As in `ask`.
            options: As in `ask`.

        Returns:
            The question, and what `stream` yields of it, without texts: to be read when it has
            been asked. Whatever it failed of is raised there.

        """
        guard, request = self._prepared(prompt, **options)
        fallback = None if self.fallback is None else self.fallback.backend
        question = WaveQuestion(guard.judge, self.backend, request, fallback)
        events = guard._of_wave(question)
        return question, traced(events, request, self.backend.info, streamed=False)

    @checked
    def score(self, prompt: Prompt, answer: Answer, *, fast: bool = False) -> Result:
        """Judge an answer that exists already, as text or token ids, by replaying it.

        Args:
            prompt: What was asked, as in `ask`.
            answer: What was answered, as text or as token ids.
            fast: Whether many tokens are evaluated at once. The numbers are others then, and so
                are profiles and limits. Otherwise the answer is read token by token, with the
                numbers of live decoding.

        Returns:
            The verdict on the answer, as if it had just been written; nothing is tried again.

        Raises:
            PromptError: If the prompt or the answer is empty or not valid text.
            InputError: If the backend reads no answer that exists already.
            MismatchError: If a profile that was asked for does not fit one answer judged alone.

        """
        return next(iter(self.score_many([(prompt, answer)], fast=fast)))

    @checked
    def score_many(
        self, pairs: Annotated[Iterable[tuple[Prompt, Answer]], Several], *, fast: bool = False
    ) -> Iterator[Result]:
        """Judge answers that exist already, see `score`; yield the results in order.

        A backend that is able to evaluates several at once.

        Args:
            pairs: What was asked with what was answered, each as in `score`.
            fast: As in `score`.

        """
        scoring: Scoring = "fast" if fast else "token-by-token"
        asked, answers, guards = [], [], []
        for pair in pairs:
            prompt, answer = pair_of(pair)
            request = self.policy.timed(request_of(prompt))
            asked.append(request)
            answers.append(answer_of(answer))
            guards.append(self.for_request(request, scoring=scoring, alone=True))
        if not asked:
            return
        with opened(self.backend, self.judge, asked[0]) as session:
            hearings = [
                Hearing(guard.judge, self.backend, session, request)
                for guard, request in zip(guards, asked, strict=True)
            ]
            attempts = replayed(session, hearings, answers, fast=fast)
        for guard, request, attempt in zip(guards, asked, attempts, strict=True):
            move = guard.judge.final([attempt])
            result = guard._concluded(request, [attempt], move, scoring=scoring)
            evaluated(result)
            yield result

    def measure(self, prompt: Prompt, **options: Unpack[RequestOptions]) -> PromptSize:
        """Count how much of the context a prompt takes.

        Args:
            prompt: As in `ask`.
            options: As in `ask`.

        Returns:
            The tokens of the prompt and of the context; `room` is what is left for the answer.

        Raises:
            PromptError: If the prompt cannot be encoded at all.

        """
        return self.backend.measure(request_of(prompt, **options))

    @checked
    def with_judge(self, judge: Judge) -> Guard:
        """Return a guard over the same engine, with the same fallback and log, and these rules.

        Args:
            judge: From `Judge.assemble`, or another guard's.

        Raises:
            MismatchError: If its policy or profile belongs to another model.
            ConfigError: If its detector needs signals that the backend does not give.

        """
        judge.check_backend(self.backend)
        other = copy(self)
        other.judge = judge
        return other

    @checked
    def for_request(
        self, request: Request, *, scoring: Scoring = "token-by-token", alone: bool = False
    ) -> Guard:
        """Return the guard for this way of asking, which is mostly this one.

        If a profile that was found by itself is for another way, the guard has hand-set rules
        instead, and a note that says so. See `Judge.for_asking`.

        Args:
            request: What is asked.
            scoring: How answers are evaluated.
            alone: Whether one answer is judged that exists already, and none is tried again.

        Raises:
            MismatchError: If a profile that was asked for is for another way.

        """
        judge = self.judge.for_asking(
            request.mode, scoring=scoring, alone=alone, unasked=not request.question
        )
        return self if judge is self.judge else self.with_judge(judge)

    def _prepared(self, prompt: Prompt, **options: Unpack[RequestOptions]) -> tuple[Guard, Request]:
        """Return the request, whose time runs from now on, and the guard for it."""
        request = self.policy.timed(request_of(prompt, **options))
        return self.for_request(request), request

    def _events(
        self,
        request: Request,
        *,
        held: Session | None = None,
        heard: bool = True,
        release: Release = "token",
    ) -> Generator[GuardEvent, None, None]:
        """Yield the events of one question, to its `Done`; every question goes through here.

        Args:
            request: what is asked; its clock runs.
            held: a session in which the question is asked; a new one otherwise.
            heard: whether the texts are wanted.
            release: when they are yielded, see `stream`.
        """
        events = self._answered(request, held=held, heard=heard, release=release)
        return traced(events, request, self.backend.info, streamed=heard)

    def _answered(
        self,
        request: Request,
        *,
        earlier: tuple[Attempt, ...] = (),
        held: Session | None = None,
        heard: bool,
        release: Release,
    ) -> Generator[GuardEvent, None, None]:
        """Yield them; `earlier` attempts are those of guards that this one is the fallback of."""
        with nullcontext(held) if held else opened(self.backend, self.judge, request) as session:
            hearing = Hearing(self.judge, self.backend, session, request)
            attempts, move = yield from hearing.attempts(earlier, heard=heard, release=release)
        yield from self._ended(request, attempts, move, earlier, heard=heard, release=release)

    def _of_wave(self, question: WaveQuestion) -> Generator[GuardEvent, None, None]:
        """Yield the events of a question that is asked with others."""
        attempts, move = yield from question.attempts()
        yield from self._ended(question.request, attempts, move, heard=False, release="token")

    def _ended(
        self,
        request: Request,
        attempts: Sequence[Attempt],
        move: Move,
        earlier: tuple[Attempt, ...] = (),
        *,
        heard: bool,
        release: Release,
    ) -> Generator[GuardEvent, None, None]:
        """Yield the last events, those of the other guard if it is to be asked."""
        if isinstance(move, Again):
            yield from self._ask_fallback(
                request, (*earlier, *attempts), heard=heard, release=release
            )
            return
        result = self._concluded(request, attempts, move, earlier=earlier)
        if not result.shown or result.kept is not attempts[-1]:
            number = len(earlier) + len(attempts) - 1
            yield Retracted(number, result.reason, unquoted=result.unquoted_reason)
        yield Done(result)

    def _ask_fallback(
        self, request: Request, earlier: tuple[Attempt, ...], *, heard: bool, release: Release
    ) -> Generator[GuardEvent, None, None]:
        """Hand over to the other guard, with its own rules; its result is ours as well."""
        fallback = self.fallback
        if fallback is None:
            raise ConfigError("the policy retries with a fallback and there is none")
        guard, request = fallback._prepared(request)
        for event in guard._answered(request, earlier=earlier, heard=heard, release=release):
            if isinstance(event, Done) and fallback.log is not self.log:
                self._keep(request, event.result, fallback.judge.locator, "token-by-token")
            yield event

    def _concluded(
        self,
        request: Request,
        attempts: Sequence[Attempt],
        move: FinalMove,
        *,
        earlier: Sequence[Attempt] = (),
        scoring: Scoring = "token-by-token",
    ) -> Result:
        """Turn the final move into the result, which is in the log then."""
        result = self.judge.conclude(
            attempts, move, info=self.backend.info, earlier=earlier, request=request
        )
        result = replace(result, notes=(*result.notes, *self.backend.notes(request)))
        self._keep(request, result, self.judge.locator, scoring)
        return result

    def _keep(self, request: Request, result: Result, locator: str, scoring: Scoring) -> None:
        if self.log is None:
            return
        try:
            self.log.append(request, result, locator, scoring)
        except LogError as error:
            error.result = result  # it is not to be lost with its line
            raise
