"""What the user gets: the text to see, the verdict, and everything behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from energy_guard.backends.base import ModelInfo
from energy_guard.decide import Abstain, Accept, Attempt, FinalMove, NotScored, Warn
from energy_guard.errors import ConfigError
from energy_guard.locate import Span
from energy_guard.policy import UNCALIBRATED, Policy, Verdict
from energy_guard.profile import Certificate
from energy_guard.score import Part, Score, Unscored
from energy_guard.shown import shown_text
from energy_guard.support_features import Support
from energy_guard.text import quoted
from energy_guard.trace import SCHEMA, Trace

if TYPE_CHECKING:
    from rich.console import RenderableType

PWrongFrom = Literal["profile", "other models", "traffic"]
"""What turned a score into P(wrong); only a profile is calibrated for the model that answered."""

Level = Literal["full", "summary", "none"]
"""How much of a result is written out, see `Result.to_dict`."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Result:
    """The outcome of one question.

    Attributes:
        text: What the user should see: the answer without reasoning, or the abstention.
        shown: Whether that is the model's answer.
        answer: What the model wrote, reasoning included.
        verdict: accept, warn, abstain or unscored.
        reason: Why, in one sentence, which may quote the answer.
        unquoted_reason: The same without words of the answer.
        warning: What to say beside an answer that is shown with a warning; None for others.
        p_wrong: The probability that the answer is wrong, 0 to 1; None if nothing turned the score
            into one.
        p_wrong_from: What did: a `profile` of this model, answers of `other models`, or the scores
            of unlabelled `traffic`.
        score: The detector's number; higher is riskier. None if the answer is unscored.
        detector: The name of the detector.
        span: The exact answer, or None if none was located.
        trace: All numbers of the attempt that was kept.
        attempts: All attempts, in order, those of a fallback last.
        kept: The attempt that was kept, with all that was found in it.
        model: The model that wrote it.
        policy: The rules that decided.
        notes: What may shift P(wrong), a sentence each.
        promise: What is certified about answers that are shown by these rules; None if nothing is.

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
    unquoted_reason: str
    warning: str | None
    p_wrong: float | None
    p_wrong_from: PWrongFrom | None
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

    @property
    def scored(self) -> Part | None:
        """Which part of the answer decided; None if there is no score."""
        return self.kept.score.part if isinstance(self.kept.score, Score) else None

    @property
    def support(self) -> Support | None:
        """How far the answer rests on its passages; None if there are none, or nobody asked."""
        return self.kept.support

    @property
    def calibrated(self) -> bool:
        """Whether P(wrong) was calibrated for this very model, way of asking and kind of answer."""
        return self.p_wrong_from == "profile" and self.kept.uncalibrated is None

    def to_dict(self, level: Level = "full") -> dict[str, Any]:
        """Return the object that the command line prints with --json, or less of it.

        Args:
            level: `full` has everything. `summary` has no lists with an entry a token; of a
                withheld answer it has the numbers, and null for its words. `none` has no text
                at all, not even the reason or what the user saw: verdict, risk, limits, counts
                and the model's names, as a system for metrics may store them.

        Returns:
            An object that is ready for JSON.

        Raises:
            ConfigError: There is no such level.

        """
        if level not in get_args(Level):
            names = ", ".join(get_args(Level))
            raise ConfigError(f"there is no level {level!r} of a result", f"One of: {names}.")
        data = self._facts()
        if level == "none":
            return data
        with_words = self.shown or level == "full"
        data |= {
            "text": self.text,
            "answer": self.answer if with_words else None,
            "reason": self.reason if with_words else self.unquoted_reason,
            "warning": self.warning,
            "notes": [*self.notes, *([UNCALIBRATED] if self._set_by_hand else [])],
            "span": self.span and _span(self.span, with_words),
            "support": self.support and _support(self.support, with_words),
            "sentences": [_sentence(*sentence, with_words) for sentence in self.kept.sentences],
        }
        if level == "full":
            data["tokens"] = self.trace.tokens()
            if self.span is not None:
                data["span"]["tokens"] = list(self.span.tokens)
        return data

    @property
    def _set_by_hand(self) -> bool:
        return self.policy.on == "score" and self.score is not None

    def _facts(self) -> dict[str, Any]:
        """What no text is needed for."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "shown": self.shown,
            "p_wrong": self.p_wrong,
            "p_wrong_from": self.p_wrong_from,
            "calibrated": self.calibrated,
            "score": self.score,
            "scored": self.scored,
            "detector": self.detector,
            "thresholds": {
                "on": self.policy.on,
                "warn": self.policy.warn,
                "abstain": self.policy.abstain,
            },
            "promise": self.promise
            and {"max_risk": self.promise.max_risk, "confidence": self.promise.confidence},
            "attempts": len(self.attempts),
            "tokens_saved": sum(attempt.tokens_saved for attempt in self.attempts),
            "finish_reason": self.trace.finish_reason,
            "prompt_tokens": self.trace.prompt_tokens,
            "content_end": self.trace.content_end,
            "model": {
                "name": self.model.name,
                "fingerprint": self.model.fingerprint,
                "backend": self.model.backend,
            },
        }

    def __repr__(self) -> str:
        """Two lines for a prompt; they quote no words of an answer that is withheld."""
        risk = "" if self.p_wrong is None else f", P(wrong) {self.p_wrong:.2f}"
        score = "" if self.score is None else f", {self.detector} {self.score:.2f}"
        reason = self.reason if self.shown else self.unquoted_reason
        counts = f"tokens: {len(self.trace)}, attempts: {len(self.attempts)}"
        return (
            f"<Result {self.verdict}{risk}{score}, {counts}, shows {quoted(self.text)}>\n"
            f"  {quoted(reason, 240)}"
        )

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
    *,
    p_wrong_from: PWrongFrom = "profile",
) -> Result:
    """Turn the final move into what the user gets; `earlier` attempts were another guard's.

    p_wrong_from: what turned the score into P(wrong), if anything did.
    """
    kept = attempts[move.attempt]
    answer = kept.trace.text
    shown = shows(move)
    return Result(
        text=shown_text(answer, kept.trace.reasoning_open) if shown else policy.abstention_text,
        shown=shown,
        answer=answer,
        verdict=_verdict(move),
        reason=move.reason,
        unquoted_reason=move.unquoted,
        warning=policy.warning_text if isinstance(move, Warn) else None,
        p_wrong=kept.p_wrong,
        p_wrong_from=None if kept.p_wrong is None else p_wrong_from,
        score=kept.score.value if isinstance(kept.score, Score) else None,
        detector=detector,
        span=kept.located if isinstance(kept.located, Span) else None,
        trace=kept.trace,
        attempts=(*earlier, *attempts),
        kept=kept,
        model=model,
        policy=policy,
    )


def _span(span: Span, with_words: bool) -> dict[str, Any]:
    return {"start": span.start, "end": span.end, "text": span.text if with_words else None}


def _support(support: Support, with_words: bool) -> dict[str, Any]:
    """The figure, and the words of the answer that are in no passage."""
    elsewhere = list(support.elsewhere) if with_words else None
    return {"gain": support.gain, "elsewhere": elsewhere, "confirmed": support.confirmed}


def _sentence(span: Span, score: Score | Unscored, with_words: bool) -> dict[str, Any]:
    return _span(span, with_words) | {"score": score.value if isinstance(score, Score) else None}


def shows(move: FinalMove) -> bool:
    """Whether the user gets to see the answer."""
    return isinstance(move, Accept | Warn) or (isinstance(move, NotScored) and move.show)


def _verdict(move: FinalMove) -> Verdict:
    if isinstance(move, Accept):
        return "accept"
    if isinstance(move, Warn):
        return "warn"
    return "abstain" if isinstance(move, Abstain) else "unscored"
