"""What a policy that tries again would have kept of stored attempts, for any limit.

Nothing is asked here: a retry depends on the question, its seed and the attempts before it, and
not on the limit that let it come about.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np

from energy_guard.calibrate.binomial import chance_to_certify
from energy_guard.calibrate.certify import threshold_grid
from energy_guard.calibrate.learn import calibrated, scored
from energy_guard.decide import Attempt, FinalMove, as_run
from energy_guard.errors import InputError
from energy_guard.policy import Policy
from energy_guard.profile import Calibration
from energy_guard.questions.answered import Answered
from energy_guard.result import shows
from energy_guard.score import Score, Unscored

LIKELY: Final = 0.9
"""How likely a limit has to be certified to be preferred for its coverage."""


@dataclass(frozen=True)
class Chains:
    """All attempts at the questions to calibrate on, with scores.

    attempts: unscored where the score is out of the range of `single`, the calibration of first
    attempts; that range is kept for what comes out, so that it decides no retry anew.
    """

    answers: Sequence[Answered]
    attempts: Sequence[tuple[Attempt, ...]]
    single: Calibration
    policy: Policy

    @classmethod
    def of(cls, answers: Sequence[Answered], fitted: Sequence[Answered], *, policy: Policy) -> Self:
        """Take scored answers with all their attempts.

        fitted: further scored answers that the range takes in. policy: that they were asked under.
        """
        every = [chain.alone(i) for chain in answers for i in range(len(chain.attempts))]
        seen = [score for _, score in scored([*fitted, *every])]
        single = calibrated(scored([chain.alone(0) for chain in answers]), seen)
        attempts = [tuple(_in_range(a, single) for a in c.attempts) for c in answers]
        return cls(answers, attempts, single, policy)

    def at_limit(self, limit: float) -> dict[str, object]:
        """Return the calibration of what is kept where P(wrong) below `limit` is shown.

        What is kept follows from the limit on the score, and P(wrong) at that from what is kept:
        the limit is where both agree. Between two scores on which they do not, P(wrong) is moved
        by what they miss each other by.
        """
        cuts = [*self._scores(), math.inf]  # with a cut, the scores below it are shown
        at = bisect.bisect_left(
            range(len(cuts) - 1), True, key=lambda i: _at(self._fitted(cuts[i]), cuts[i]) >= limit
        )
        calibration = self._fitted(cuts[at])
        shown = cuts[at - 1] if at else None
        if shown is not None and _at(calibration, shown) >= limit and calibration.slope:
            middle = (shown + cuts[at]) / 2
            moved = math.log(limit / (1 - limit)) - calibration.slope * middle
            calibration = calibration.model_copy(update={"intercept": moved})
        return self._checked(calibration, limit, cuts[at])

    def at_score(self, cut: float) -> dict[str, object]:
        """Return the calibration of what is kept where scores below `cut` are shown."""
        calibration = self._fitted(cut)
        return self._checked(calibration, _at(calibration, cut), cut)

    def promising(self, max_risk: float, level: float, *, later: int) -> float:
        """Return the limit on the score with the best prospects of being certified.

        The one with most coverage among those that `later` questions will probably certify; where
        there is none, the one that they will most probably.
        """
        first = [a[0].score.value for a in self.attempts if isinstance(a[0].score, Score)]
        grid = threshold_grid(np.array(first))
        shown = [[kept for kept, move in self._kept(cut) if shows(move)] for cut in grid]
        answered = np.array([len(kept) for kept in shown])
        wrong = np.array([sum(a.wrong for a in kept) for kept in shown])
        expected = np.rint(answered * later / len(self.answers)).astype(np.int64)
        chance = chance_to_certify(wrong, answered, later=expected, max_risk=max_risk, level=level)
        likely = np.flatnonzero(chance >= LIKELY)
        return grid[int(likely[-1] if len(likely) else np.argmax(chance))]

    def _scores(self) -> list[float]:
        every = [attempt.score for chain in self.attempts for attempt in chain]
        return sorted({score.value for score in every if isinstance(score, Score)})

    def _kept(self, cut: float) -> Iterator[tuple[Answered, FinalMove]]:
        """What is kept where scores below `cut` are shown, but for what the model declined."""
        policy = self._policy(cut)
        for answered, attempts in zip(self.answers, self.attempts, strict=True):
            _, move = as_run(policy, attempts)
            kept = answered.alone(move.attempt)
            if not kept.declined:
                yield replace(kept, attempts=(attempts[move.attempt],)), move

    def _policy(self, cut: float) -> Policy:
        return self.policy.model_copy(update={"on": "score", "warn": None, "abstain": cut})

    def _fitted(self, cut: float) -> Calibration:
        scores = [(a, a.attempts[0].score) for a, _ in self._kept(cut)]
        pairs = [(answered, score) for answered, score in scores if isinstance(score, Score)]
        ends = self.single.model_dump(include={"lowest", "highest", "shortest", "longest"})
        return calibrated(pairs, ()).model_copy(update=ends)

    def _checked(self, calibration: Calibration, limit: float, cut: float) -> dict[str, object]:
        """Both as a profile has them; InputError if P(wrong) has other answers tried again."""
        by_score = self._policy(cut)
        by_p = self.policy.model_copy(update={"warn": None, "abstain": limit})
        for attempts in self.attempts:
            known = [
                replace(a, p_wrong=_at(calibration, a.score.value))
                if isinstance(a.score, Score)
                else a
                for a in attempts
            ]
            if as_run(by_p, known)[0] != as_run(by_score, attempts)[0]:
                raise InputError(
                    "P(wrong) after retries does not grow with the score where the limit lies, so "
                    "it cannot decide which answers are tried again",
                    "Calibrate without retries, or on more questions.",
                )
        return {"calibration": calibration, "abstain": limit}


def _in_range(attempt: Attempt, single: Calibration) -> Attempt:
    score = attempt.score
    if isinstance(score, Unscored):
        return attempt
    unlike = score.unlike and score.unlike.reason
    why_not = unlike or single.why_not(score.value, score.length)
    if score.part == "whole answer":
        why_not = "no exact answer was found"
    return attempt if why_not is None else replace(attempt, score=Unscored(why_not))


def _at(calibration: Calibration, score: float) -> float:
    """P(wrong) at a score; beyond the range 0 on its sure side and 1 on the other."""
    p = calibration.p_wrong(score)
    if p is not None:
        return p
    return 0.0 if score < calibration.lowest else 1.0
