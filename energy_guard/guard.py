"""The path itself: generate → trace → locate → score → calibrate → decide → act."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from energy_guard.act import Result, conclude
from energy_guard.backends import load
from energy_guard.calibrate import Profile
from energy_guard.decide import DEFAULT_DETECTOR, Again, Attempt, Changes, Policy, next_move
from energy_guard.energy import Row
from energy_guard.errors import ConfigError, InputError, MismatchError
from energy_guard.locate import Asked
from energy_guard.locate import locator as locator_named
from energy_guard.request import Event, Finished, Message, Partition, Request, Token
from energy_guard.score import Detector, Score, Unscored, worst
from energy_guard.text import StopStrings, TextStream, joined_glyphs
from energy_guard.trace import Step, Trace

Prompt = str | Sequence[Message] | Request
"""A question, the turns of a chat, or a complete request."""


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """The model begins to answer; what follows replaces what came before."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Text:
    """The text of one token, provisional until the verdict.

    It comes one token late, with the row after it. risk: the detector's signal turned so that
    it grows with risk; None where that row is missing. Of several tokens that share a glyph the
    riskiest counts.
    """

    attempt: int
    text: str
    nll: float
    risk: float | None


@dataclass(frozen=True, slots=True)
class Retracted:
    """The text of this attempt is not the answer, and why."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """The verdict, with everything behind it."""

    result: Result


GuardEvent = AttemptStarted | Text | Retracted | Done


class Guard:
    """A model with a guard over it.

    backend: anything that `load` takes. detector: as `Detector.parse` reads it. locator: as
    `locate.locator` reads it. policy: hand-set thresholds unless given. profile: turns scores
    into P(wrong).

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
        profile: Profile | None = None,
    ) -> None:
        self.backend = load(backend)
        chosen = detector or (profile and profile.detector) or (policy and policy.detector)
        self.detector = Detector.parse(chosen or DEFAULT_DETECTOR)
        self.locator = locator or (profile.locator if profile else "automatic")
        self._locate = locator_named(self.locator)
        self.profile = profile
        self.policy = policy or Policy.default(self.detector, calibrated=profile is not None)
        self._check()

    def ask(self, prompt: Prompt, **options: Any) -> Result:
        """Ask, and return the outcome; options are those of `Request`."""
        for event in self.stream(prompt, **options):
            if isinstance(event, Done):
                return event.result
        raise InputError("the stream ended without a result")

    def stream(self, prompt: Prompt, **options: Any) -> Generator[GuardEvent, None, None]:
        """Ask, and yield events while the model writes; the last one is `Done`."""
        request = _request(prompt, options)
        self._check_mode(request)
        attempts: list[Attempt] = []
        while True:
            number = len(attempts)
            yield AttemptStarted(number)
            trace = yield from self._attempt(number, request, self.backend.generate([request]))
            attempts.append(self._assess(request, trace))
            move = next_move(self.policy, attempts)
            if isinstance(move, Again):
                yield Retracted(number, move.reason)
                request = _changed(request, move.changes)
                continue
            result = conclude(self.policy, attempts, move, self.detector.name, self.backend.info)
            if not result.shown or move.attempt != number:
                yield Retracted(number, move.reason)
            yield Done(result)
            return

    def score(self, prompt: Prompt, answer: str | Sequence[int]) -> Result:
        """Judge an answer that exists already, as text or token ids, by replaying it."""
        request = _request(prompt, {})
        self._check_mode(request)
        for event in self.backend.replay(request, answer):
            if isinstance(event, Finished):
                attempts = [self._assess(request, event.trace)]
        policy = self.policy.model_copy(update={"retries": 0})
        move = next_move(policy, attempts)
        if isinstance(move, Again):
            raise InputError("an existing answer cannot be tried again")
        return conclude(policy, attempts, move, self.detector.name, self.backend.info)

    def _attempt(
        self, number: int, request: Request, events: Generator[Event, None, None]
    ) -> Generator[Text, None, Trace]:
        """Pass the text on as it settles; return the trace."""
        stream, stops = TextStream(), StopStrings(request.stop)
        steps: list[tuple[Step, Row | None]] = []
        try:
            for event in events:
                if isinstance(event, Token):
                    steps.append((event.step, None))
                    stops.push(event.step.piece)
                    settled = stream.push(event.step.piece, stops.held_back())
                elif isinstance(event, Partition):
                    row = Row(event.log_partition, event.row_mean, 0.0, 0.0)
                    steps[event.t] = (steps[event.t][0], row)
                    continue
                else:
                    settled = stream.finish(event.trace.content_bytes)
                for indices, text in joined_glyphs(settled):
                    risks = [self.detector.token_risk(*steps[i]) for i in indices]
                    nlls = [steps[i][0].nll for i in indices]
                    yield Text(number, text, max(nlls), worst(risks))
                if isinstance(event, Finished):
                    return event.trace
        finally:
            events.close()
        raise InputError("the backend ended without a trace")

    def _assess(self, request: Request, trace: Trace) -> Attempt:
        """Locate, score and calibrate one attempt."""
        located = self._locate(trace, Asked(request.question, request.choices))
        score = self.detector.score(trace, located)
        if trace.finish_reason in ("cancelled", "deadline", "closed"):
            score = Unscored(f"the answer is not complete ({trace.finish_reason})")
        p_wrong = None
        if self.profile is not None and isinstance(score, Score):
            p_wrong = self.profile.calibration.p_wrong(score.value)
        return Attempt(trace, located, score, p_wrong)

    def _check(self) -> None:
        policy, profile, info = self.policy, self.profile, self.backend.info
        if policy.on == "p_wrong" and profile is None:
            raise ConfigError("a policy on p_wrong needs a profile", "Give one (--profile FILE).")
        if policy.detector is not None and policy.detector != self.detector.name:
            raise MismatchError(
                f"the policy's thresholds are for {policy.detector}, not {self.detector.name}",
                "Use the policy's detector, or thresholds made for this one.",
            )
        if policy.model is not None and policy.model != info.fingerprint:
            raise MismatchError(
                f"the policy belongs to the model {policy.model}, and this is {info.fingerprint}",
                "Thresholds do not carry over between models: set them for this one.",
            )
        if profile is not None:
            profile.check(
                model=info.fingerprint,
                backend=info.backend,
                detector=self.detector.name,
                locator=self.locator,
                retries=policy.retries,
                scoring="token-by-token",
            )

    def _check_mode(self, request: Request) -> None:
        if self.profile is not None:
            self.profile.check(mode=request.mode)


def _request(prompt: Prompt, options: dict[str, Any]) -> Request:
    if isinstance(prompt, Request):
        return replace(prompt, **options)
    return Request.chat(prompt, **options)


def _changed(request: Request, changes: Changes) -> Request:
    """The request of a retry."""
    sampling = request.sampling
    if changes.temperature is not None:
        sampling = replace(sampling, temperature=changes.temperature)
    if changes.fresh_seed:
        # A given seed makes retries repeatable too; without one they are drawn.
        seed = secrets.randbits(32) if sampling.seed is None else (sampling.seed + 1) % 2**32
        sampling = replace(sampling, seed=seed)
    return replace(request, sampling=sampling)
