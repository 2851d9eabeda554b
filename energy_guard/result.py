"""What the user gets: the text to see, the verdict, and everything behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from energy_guard.backends.base import ModelInfo
from energy_guard.decide import Abstain, Accept, Attempt, FinalMove, NotScored, Warn
from energy_guard.locate import Span
from energy_guard.policy import Policy, Verdict
from energy_guard.profile import Certificate
from energy_guard.score import Score, Unscored
from energy_guard.trace import SCHEMA, Trace

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """The outcome of one question.

    text: what the user should see; shown: whether that is the model's answer. answer: what the
    model wrote. verdict: accept, warn, abstain or unscored, with its reason in one sentence.
    warning: what to say beside an answer that is shown with a warning. p_wrong: None when not
    calibrated. score: higher is riskier, None when unscored. span: the located answer or None.
    trace: all numbers of the attempt that was kept; attempts: all of them, in order. notes: what
    may shift P(wrong), a sentence each. promise: what is certified about answers shown by these
    rules, None where nothing is.

    >>> from energy_guard import Guard
    >>> from energy_guard.backends import Scripted
    >>> result = Guard(Scripted.saying([("Par", 0.97), ("is", 0.99)])).ask("Which city?")
    >>> result.text, result.verdict, round(result.score, 2)
    ('Paris', 'accept', 0.03)
    """

    text: str
    shown: bool
    answer: str
    verdict: Verdict
    reason: str
    warning: str | None
    p_wrong: float | None
    score: float | None
    detector: str
    span: Span | None
    trace: Trace
    attempts: tuple[Attempt, ...]
    kept: Attempt
    model: ModelInfo
    policy: Policy
    notes: tuple[str, ...] = ()
    promise: Certificate | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the object that the command line prints with --json."""
        span = self.span
        return {
            "schema": SCHEMA,
            "text": self.text,
            "answer": self.answer,
            "verdict": self.verdict,
            "reason": self.reason,
            "warning": self.warning,
            "notes": list(self.notes),
            "promise": self.promise
            and {"max_risk": self.promise.max_risk, "confidence": self.promise.confidence},
            "p_wrong": self.p_wrong,
            "score": self.score,
            "detector": self.detector,
            "thresholds": {
                "on": self.policy.on,
                "warn": self.policy.warn,
                "abstain": self.policy.abstain,
            },
            "span": span
            and {
                "start": span.start,
                "end": span.end,
                "text": span.text,
                "tokens": list(span.tokens),
            },
            "sentences": [_sentence(span, score) for span, score in self.kept.sentences],
            "attempts": len(self.attempts),
            "tokens_saved": sum(attempt.tokens_saved for attempt in self.attempts),
            "finish_reason": self.trace.finish_reason,
            "prompt_tokens": self.trace.prompt_tokens,
            "content_end": self.trace.content_end,
            "tokens": self.trace.tokens(),
            "model": {
                "name": self.model.name,
                "fingerprint": self.model.fingerprint,
                "backend": self.model.backend,
            },
        }

    def __rich__(self) -> RenderableType:
        from energy_guard.report.terminal import result_view  # a sixth of the import time

        return result_view(self.to_dict())

    def _repr_html_(self) -> str:
        from energy_guard.report.html import result_html

        return result_html(self.to_dict())


def conclude(
    policy: Policy,
    attempts: Sequence[Attempt],
    move: FinalMove,
    detector: str,
    model: ModelInfo,
    earlier: Sequence[Attempt] = (),
) -> Result:
    """Turn the final move into what the user gets; `earlier` attempts were another guard's."""
    kept = attempts[move.attempt]
    answer = kept.trace.text
    shown = shows(move)
    return Result(
        text=answer if shown else policy.abstention_text,
        shown=shown,
        answer=answer,
        verdict=_verdict(move),
        reason=move.reason,
        warning=policy.warning_text if isinstance(move, Warn) else None,
        p_wrong=kept.p_wrong,
        score=kept.score.value if isinstance(kept.score, Score) else None,
        detector=detector,
        span=kept.located if isinstance(kept.located, Span) else None,
        trace=kept.trace,
        attempts=(*earlier, *attempts),
        kept=kept,
        model=model,
        policy=policy,
    )


def _sentence(span: Span, score: Score | Unscored) -> dict[str, Any]:
    value = score.value if isinstance(score, Score) else None
    return {"start": span.start, "end": span.end, "text": span.text, "score": value}


def shows(move: FinalMove) -> bool:
    """Whether the user gets to see the answer."""
    return isinstance(move, Accept | Warn) or (isinstance(move, NotScored) and move.show)


def _verdict(move: FinalMove) -> Verdict:
    if isinstance(move, Accept):
        return "accept"
    if isinstance(move, Warn):
        return "warn"
    return "abstain" if isinstance(move, Abstain) else "unscored"
