"""From a score to the probability that the answer is wrong, as plain numbers in a file."""

from __future__ import annotations

import bisect
import math
from typing import Self

from pydantic import Field, model_validator

from energy_guard.config import Config


class Calibration(Config):
    """P(wrong) = logistic(slope · score + intercept), clipped to [1/(n+2), 1 − 1/(n+2)].

    One that was fitted elsewhere (isotonic regression) has `knots` instead, pairs of a score and
    its P(wrong), both growing, and P(wrong) lies on the straight line between two knots.

    n: answers it was fitted on, n_wrong of them wrong. lowest, highest: the range of scores
    seen then; shortest, longest: that of the answer spans' lengths in tokens. Outside of them
    there is no probability. note: what to know before relying on it.

    >>> Calibration(slope=1, intercept=0, n=98, n_wrong=50, lowest=-3, highest=3).p_wrong(0.0)
    0.5
    """

    slope: float | None = Field(default=None, ge=0)
    intercept: float | None = None
    knots: tuple[tuple[float, float], ...] = ()
    n: int = Field(ge=2)
    n_wrong: int = Field(ge=1)
    lowest: float
    highest: float
    shortest: int | None = Field(default=None, ge=1)
    longest: int | None = Field(default=None, ge=1)
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.shortest is None) != (self.longest is None):
            raise ValueError("shortest and longest come together, or neither is known")
        if self.n_wrong >= self.n:
            raise ValueError("n_wrong must be below n: a calibration needs right answers too")
        straight = [value is not None for value in (self.slope, self.intercept)]
        if any(straight) if self.knots else not all(straight):
            raise ValueError("give slope and intercept, or knots instead of them")
        scores, values = [x for x, _ in self.knots], [p for _, p in self.knots]
        if scores != sorted(set(scores)) or values != sorted(values):
            raise ValueError("knots must grow: scores strictly, probabilities without falling")
        if not all(0 <= p <= 1 for p in values):
            raise ValueError("the probabilities of knots lie between 0 and 1")
        return self

    def p_wrong(self, score: float, length: int | None = None) -> float | None:
        """Return P(wrong), or None outside the range that was fitted (`why_not` says which).

        length: of the answer span, in tokens; None if it does not matter.
        """
        if self.why_not(score, length) is not None:
            return None
        edge = 1 / (self.n + 2)
        if self.slope is None or self.intercept is None:
            p = self._between_knots(score)
        else:
            p = _logistic(self.slope * score + self.intercept)
        return min(max(p, edge), 1 - edge)

    def shifted(self, log_odds: float) -> Self:
        """Return the curve with all log-odds of being wrong moved by this much.

        Args:
            log_odds: What is added to them; above 0, every P(wrong) rises.

        >>> base = Calibration(slope=1, intercept=0, n=98, n_wrong=50, lowest=-3, highest=3)
        >>> base.shifted(2.0).p_wrong(-2.0)
        0.5
        """
        if self.intercept is not None:
            return self.model_copy(update={"intercept": self.intercept + log_odds})
        knots = tuple((x, _moved(p, log_odds)) for x, p in self.knots)
        return self.model_copy(update={"knots": knots})

    def flattened(self, by: float) -> Self:
        """Return the curve with all log-odds of being wrong multiplied by this.

        Args:
            by: Above 0; below 1, every P(wrong) comes nearer to 0.5.

        >>> base = Calibration(slope=2, intercept=0, n=98, n_wrong=50, lowest=-3, highest=3)
        >>> base.flattened(0.5).slope
        1.0
        """
        if self.slope is not None and self.intercept is not None:
            straight = {"slope": self.slope * by, "intercept": self.intercept * by}
            return self.model_copy(update=straight)
        knots = tuple((x, _moved(p, by=by)) for x, p in self.knots)
        return self.model_copy(update={"knots": knots})

    def why_not(self, score: float, length: int | None = None) -> str | None:
        """Say why there is no P(wrong) for this score and length; None if there is one."""
        if not self.lowest <= score <= self.highest:
            less = "riskier" if score > self.highest else "safer"
            return (
                f"the answer looks {less} than any that the profile was made from (its score is "
                f"{score:.3g}, and theirs are {self.lowest:.3g} to {self.highest:.3g})"
            )
        shortest, longest = self.shortest or 1, self.longest or math.inf
        if length is not None and not shortest <= length <= longest:
            return (
                f"the answer's length in tokens is {length}, and those that the profile was made "
                f"from have {shortest} to {longest:g}"
            )
        return None

    def _between_knots(self, score: float) -> float:
        after = bisect.bisect_left(self.knots, score, key=lambda knot: knot[0])
        if after == 0:
            return self.knots[0][1]
        if after == len(self.knots):
            return self.knots[-1][1]
        (x0, p0), (x1, p1) = self.knots[after - 1 : after + 1]
        return p0 + (p1 - p0) * (score - x0) / (x1 - x0)


def _moved(p: float, log_odds: float = 0.0, by: float = 1.0) -> float:
    """A probability with its log-odds multiplied and moved; 0 and 1 stay."""
    return _logistic(math.log(p / (1 - p)) * by + log_odds) if 0 < p < 1 else p


def _logistic(odds: float) -> float:
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))
