"""What to do with what came out: a policy, the attempts so far → the next move.

Pure: no engine, no output. `guard` and every integration loop over `next_move`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from types import MappingProxyType
from typing import Final

from energy_guard.backends.base import PromptSize
from energy_guard.errors import InputError
from energy_guard.locate import Asked, Located, Span
from energy_guard.locate.span import NOTHING_ASKED
from energy_guard.policy import Policy
from energy_guard.request import Message, Request
from energy_guard.score import Part, Score, Unscored
from energy_guard.support_features import Support
from energy_guard.trace import INCOMPLETE, Trace


@dataclass(frozen=True, slots=True)
class Attempt:
    """One answer with what was found in it.

    p_wrong: None if nothing calibrated it. sentences: each sentence of a long answer with
    its own score. stopped: why a running rule ended it, None if none did. tokens_saved: how
    many more tokens it could have had then, at the most. uncalibrated: why a profile has no
    p_wrong of its own for its score; a p_wrong beside it is that of the riskiest answers known.
    asked: what it answers, as far as that is known. support: how far it rests on its passages; None
    if there are none, or if nobody wants to know. unusable: why nobody may act on it, whatever its
    risk; None for any other answer.
    """

    trace: Trace
    located: Located
    score: Score | Unscored
    p_wrong: float | None = None
    sentences: tuple[tuple[Span, Score | Unscored], ...] = ()
    stopped: str | None = None
    tokens_saved: int = 0
    uncalibrated: str | None = None
    asked: Asked = NOTHING_ASKED
    support: Support | None = None
    unusable: str | None = None

    @property
    def withheld_as_unusable(self) -> bool:
        """Whether it would be shown if somebody could act on it."""
        return isinstance(self.score, Unscored) and self.score.withheld


@dataclass(frozen=True, slots=True)
class Changes:
    """What a retry does differently, as data; None or False leaves a setting as it is.

    feedback: what to tell the model about its last answer. fallback: ask the second guard.
    damp: switch the probe's H-neurons off while the model writes.

    >>> Changes(temperature=0.7).apply(Request.chat("Why?"), attempts=()).sampling.temperature
    0.7
    """

    temperature: float | None = None
    _: KW_ONLY
    fresh_seed: bool = False
    feedback: str | None = None
    fallback: bool = False
    damp: bool = False

    def apply(self, request: Request, attempts: Sequence[Attempt]) -> Request:
        """Return the request of the retry: the first request with these changes.

        Args:
            request: what was asked first. Earlier feedback is no part of it.
            attempts: the answers to it so far, the last of which the feedback is about.
        """
        sampling = replace(
            request.sampling, seed=self.seed(request.sampling.seed, retry=len(attempts))
        )
        if self.temperature is not None:
            sampling = replace(sampling, temperature=self.temperature)
        told = self.feedback_turns(attempts)
        if not told or request.messages is None:
            return replace(request, sampling=sampling)
        # The passages stand before the question. With the feedback as the last user message they
        # would stand before that one instead.
        turns = (*request.turns(), *told)
        return replace(request, messages=turns, context=(), sampling=sampling)

    def seed(self, given: int | None, retry: int) -> int | None:
        """Return the seed of a retry; None stays None, and the engine draws a fresh one.

        Args:
            given: the seed of the first attempt. It makes the retries repeatable, too.
            retry: the number of the retry, from 1.
        """
        if given is None or not self.fresh_seed:
            return given
        return (given + retry) % 2**32

    def feedback_turns(self, attempts: Sequence[Attempt]) -> tuple[Message, ...]:
        """Return the turns that follow the question: the last answer, and what is wrong with it.

        Empty without feedback.
        """
        if self.feedback is None:
            return ()
        answer = attempts[-1].trace.text
        return Message("assistant", answer), Message("user", self.feedback)

    def that_fit(
        self,
        request: Request,
        attempts: Sequence[Attempt],
        *,
        measure: Callable[[Request], PromptSize],
    ) -> Changes:
        """Return the changes without the feedback if the context has no room for it.

        Args:
            request: what was asked first.
            attempts: the answers to it so far.
            measure: the `measure` of the backend that is asked.
        """
        if self.feedback is None or measure(self.apply(request, attempts)).room >= 1:
            return self
        return replace(self, feedback=None)


@dataclass(frozen=True, slots=True)
class Accept:
    """Show the answer of attempt number `attempt`.

    reason: may quote the answer; unquoted: says the same without its words.
    """

    attempt: int
    reason: str
    unquoted: str


@dataclass(frozen=True, slots=True)
class Warn:
    """Show the answer, with a warning beside it; see `Accept`."""

    attempt: int
    reason: str
    unquoted: str


@dataclass(frozen=True, slots=True)
class Abstain:
    """Do not show the answer; see `Accept`."""

    attempt: int
    reason: str
    unquoted: str


@dataclass(frozen=True, slots=True)
class NotScored:
    """Nothing is known of the answer's risk; `show` says whether it is shown all the same.

    reason: what is missing, in words that never quote the answer.
    """

    attempt: int
    reason: str
    show: bool

    @property
    def unquoted(self) -> str:
        """The reason, as there is nothing in it to leave out."""
        return self.reason


@dataclass(frozen=True, slots=True)
class Again:
    """Try once more."""

    changes: Changes
    reason: str


FinalMove = Accept | Warn | Abstain | NotScored
Move = FinalMove | Again


def next_move(policy: Policy, attempts: Sequence[Attempt]) -> Move:
    """Decide after the last of `attempts` (at least one)."""
    final = final_move(policy, attempts)
    interrupted = attempts[-1].trace.finish_reason in INCOMPLETE - {"stopped"}
    withheld = isinstance(final, Abstain) or (isinstance(final, NotScored) and not final.show)
    if withheld and not interrupted and len(attempts) <= policy.retries:
        return Again(_changes(policy, attempts), f"withheld: {final.reason}")
    return final


def as_run(policy: Policy, attempts: Sequence[Attempt]) -> tuple[int, FinalMove]:
    """Return how many of these attempts a policy makes, and what it decides then.

    Raises InputError if it makes further ones.
    """
    for number in range(1, len(attempts) + 1):
        move = next_move(policy, attempts[:number])
        if not isinstance(move, Again):
            return number, move
    raise InputError(f"the policy makes more than {len(attempts)} attempts")


def final_move(policy: Policy, attempts: Sequence[Attempt]) -> FinalMove:
    """Decide without a further attempt: the least risky one counts; of those without, the last."""
    risks = [(risk, i) for i, a in enumerate(attempts) if (risk := _risk(policy, a)) is not None]
    last = len(attempts) - 1
    if not risks:
        stopped = attempts[-1].stopped
        if stopped is not None:
            return Abstain(last, stopped, stopped)
        return _not_scored(policy, attempts[-1], last)
    risk, best = min(risks)
    kind: type[Accept | Warn | Abstain]
    if policy.abstain is not None and risk >= policy.abstain:
        kind, end = Abstain, f", at or above the limit of {policy.abstain:g}"
    elif policy.warn is None:
        kind, end = Warn, "; no limit is known for it"
    elif risk >= policy.warn:
        kind, end = Warn, f", at or above the warning limit of {policy.warn:g}"
    else:
        kind, end = Accept, f", below the warning limit of {policy.warn:g}"
    far = attempts[best].uncalibrated
    if far is not None and policy.on == "p_wrong":
        end += f"; {far}"
    quoted, unquoted = _describe(policy, attempts[best], risk)
    return kind(best, quoted + end, unquoted + end)


def _not_scored(policy: Policy, attempt: Attempt, number: int) -> NotScored:
    if isinstance(attempt.score, Score):
        why = f": {attempt.uncalibrated}" if attempt.uncalibrated else ""
        return NotScored(number, f"{_NOT_MEASURED}{why}", policy.unscored == "show")
    rule = policy.nothing_to_check if attempt.score.nothing_to_check else policy.unscored
    show = rule == "show" and not attempt.score.withheld
    return NotScored(number, attempt.score.reason, show)


def _changes(policy: Policy, attempts: Sequence[Attempt]) -> Changes:
    """The next kind of retry; the last kind of the list serves for all further ones."""
    kind = policy.retry[min(len(attempts), len(policy.retry)) - 1]
    if kind == "fallback":
        return Changes(fallback=True)
    feedback = _feedback(policy, attempts[-1]) if kind == "feedback" else None
    damp = kind == "damp"
    return Changes(policy.retry_temperature, fresh_seed=True, feedback=feedback, damp=damp)


def _feedback(policy: Policy, attempt: Attempt) -> str | None:
    """The policy's text with the weakest words in it; None if nothing was scored."""
    if not isinstance(attempt.score, Score):
        return None
    text = attempt.trace.text
    start, end = attempt.trace.alignment.offsets[attempt.score.weakest_token]
    words = [m.group() for m in _WORD.finditer(text) if m.end() > start and m.start() < end]
    return policy.feedback_text.replace("{span}", " ".join(words) or attempt.score.span.text)


_WORD = re.compile(r"\w+(?:[-'’.,]\w+)*")


def _risk(policy: Policy, attempt: Attempt) -> float | None:
    if isinstance(attempt.score, Unscored):
        return None
    return attempt.p_wrong if policy.on == "p_wrong" else attempt.score.value


def _describe(policy: Policy, attempt: Attempt, risk: float) -> tuple[str, str]:
    """What was measured, with the part of the answer that it was measured at, and without."""
    if isinstance(attempt.score, Unscored):
        return attempt.score.reason, attempt.score.reason
    score = attempt.score
    name = "P(wrong)" if policy.on == "p_wrong" else score.detector.name
    what = f"{name} of {_PARTS[score.part]}"
    quoted, unquoted = (
        f"{what} “{_short(score.span.text)}” is {_told(policy, risk)}",
        f"{what} is {_told(policy, risk)}",
    )
    token = _short(attempt.trace.alignment.texts[score.weakest_token]) if score.values else ""
    if policy.on == "score" and token and token != score.span.text:
        quoted += f" (weakest at “{token}”)"
    return quoted, unquoted


def _told(policy: Policy, risk: float) -> str:
    """A risk to two decimals, or to as many as leave it on its side of every limit."""
    limits = [limit for limit in (policy.warn, policy.abstain) if limit is not None]
    for decimals in range(2, 17):
        text = f"{risk:.{decimals}f}"
        if all((float(text) >= limit) == (risk >= limit) for limit in limits):
            return text
    return repr(risk)


_NOT_MEASURED: Final = "how often such answers are wrong was not measured"
"""Why nobody can say whether to show an answer that has a score, however sure it looks."""

_PARTS: Final[Mapping[Part, str]] = MappingProxyType(
    {
        "exact answer": "the exact answer",
        "other claim": "another claim",
        "whole answer": "the whole answer",
    }
)


def _short(text: str, limit: int = 60) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= limit else one_line[: limit - 1] + "…"
