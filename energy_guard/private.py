"""What a private log keeps of an answer: its verdict, and one rounded number a detector.

The numbers of every token, however they are rounded, would give the answer back to whoever has the
model and guesses the question (docs/results.md, "What does a private log give away?").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import Field

from energy_guard.claims import score_answer
from energy_guard.config import Config
from energy_guard.decide import Attempt
from energy_guard.locate import Span
from energy_guard.policy import DEFAULT_DETECTOR
from energy_guard.result import Result
from energy_guard.score import Detector, Part, Score, Scorer, Unlike, Unscored
from energy_guard.trace import INCOMPLETE, Trace

SCORE_STEP: Final = 0.1
"""Scores are rounded up to this, in the unit of their detector."""

_P_STEP: Final = 0.05
_TEXTS: Final = ("text", "answer", "reason", "warning", "span", "support")
_UNLIKE: Final = "it is unlike the answers that the profile was made from"


class KeptScore(Config):
    """The score of all of an answer by one detector, without where in the answer it is.

    value: rounded up; None if there is none, and `reason` says why. part: what of the answer
    decided. length: how many tokens the exact answer has. unlike: on which side the answer is
    unlike all that the detector was made from, see `Unlike`.

    >>> KeptScore(detector="nll:max", value=1.3, part="exact answer", length=2).value
    1.3
    """

    detector: str
    value: float | None = None
    part: Part | None = None
    length: int | None = Field(default=None, ge=1)
    unlike: Literal["riskier", "surer"] | None = None
    reason: str = ""

    @classmethod
    def of(cls, name: str, score: Score | Unscored) -> KeptScore:
        """Keep what is kept of a score by the detector of this name."""
        if isinstance(score, Unscored):
            return cls(detector=name, reason=score.reason)
        return cls(
            detector=name,
            value=_rounded_up(score.value, SCORE_STEP),
            part=score.part,
            length=score.length,
            unlike=None if score.unlike is None else "riskier" if score.unlike.riskier else "surer",
        )


def kept_scores(result: Result, scorer: str) -> list[dict[str, Any]]:
    """Return the scores of an answer by the detector that judged it, and by the default one.

    Args:
        result: what came out.
        scorer: the name of its detector.
    """
    attempt = result.kept
    found = [KeptScore.of(scorer, attempt.score)]
    if scorer != DEFAULT_DETECTOR:
        found.append(KeptScore.of(DEFAULT_DETECTOR, _by_default(attempt)))
    return [score.model_dump() for score in found]


def _by_default(attempt: Attempt) -> Score | Unscored:
    ended = attempt.stopped is None and attempt.trace.finish_reason not in INCOMPLETE
    if not ended and isinstance(attempt.score, Unscored):
        return attempt.score
    return score_answer(
        Detector.parse(DEFAULT_DETECTOR), attempt.trace, attempt.located, asked=attempt.asked
    )


def score_again(
    kept: Sequence[KeptScore], scorer: Scorer, *, nothing_to_check: bool
) -> Score | Unscored:
    """Return the score by this detector, if it is one of those that were kept.

    Args:
        kept: the scores of one answer.
        scorer: the detector that is wanted.
        nothing_to_check: whether the answer held nothing that could be wrong.

    Returns:
        The rounded score; its span has the right length, and no place. Unscored, and what is
        missing, if the score was not kept.
    """
    found = next((score for score in kept if score.detector == scorer.name), None)
    if found is None:
        names = " and ".join(score.detector for score in kept)
        return Unscored(
            f"a private log keeps the scores of the detectors in use then ({names}), "
            f"and {scorer.name} needs the numbers of the tokens",
            nothing_to_check,
        )
    if found.value is None or found.part is None or found.length is None:
        return Unscored(found.reason, nothing_to_check)
    span = Span(tuple(range(found.length)), "")
    unlike = found.unlike and Unlike(riskier=found.unlike == "riskier", reason=_UNLIKE)
    return Score(found.value, scorer, span, (), unlike, found.part)


def private_result(result: Result) -> dict[str, Any]:
    """Return a result as a private log has it: no texts, no places, and rounded numbers."""
    data = result.to_dict("none")
    p_wrong, score = data["p_wrong"], data["score"]
    data |= dict.fromkeys(_TEXTS)
    data |= {
        "p_wrong": p_wrong and min(max(_rounded_up(p_wrong, _P_STEP), _P_STEP), 1 - _P_STEP),
        "score": score and _rounded_up(score, SCORE_STEP),
        **dict.fromkeys(("prompt_tokens", "content_end")),
        "notes": list(result.notes),
        "sentences": [],
    }
    return data


def without_tokens(trace: Trace) -> Trace:
    """Return the trace of an answer with no tokens, which ended for the same reason."""
    return Trace.from_steps([], finish_reason=trace.finish_reason)


def _rounded_up(value: float, step: float) -> float:
    """The next multiple of the step above: no answer looks less risky than it was."""
    return round(math.ceil(value / step - 1e-9) * step, 10)
