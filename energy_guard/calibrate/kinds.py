"""P(wrong) beside the share that is wrong, one kind of question at a time.

A calibration is right on average over all that it was made from. A kind of question for which it
is not right is one on which the profile should not be trusted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from energy_guard.estimates.estimate import Estimate, Measured, proportion
from energy_guard.profile import Profile
from energy_guard.questions.answered import Answered
from energy_guard.score import Score

FAR_OFF: Final = 0.10
"""From here on a kind's mean P(wrong) is called off."""


@dataclass(frozen=True)
class KindFigures:
    """The answers of one kind of question under a profile.

    wrong: the share of wrong answers among those with a P(wrong). mean_p: the mean of that; None
    if none has one. without: how many have no P(wrong), those that the model declined aside.
    """

    kind: str
    wrong: Measured
    mean_p: float | None
    without: int

    @property
    def is_off(self) -> bool:
        """Whether the mean P(wrong) is further than `FAR_OFF` from the share that is wrong."""
        if self.mean_p is None or not isinstance(self.wrong, Estimate):
            return False
        return abs(self.mean_p - self.wrong.value) > FAR_OFF

    @property
    def may_be_chance(self) -> bool:
        """Whether so few answers leave room for a share wrong that is the mean P(wrong)."""
        if self.mean_p is None or not isinstance(self.wrong, Estimate):
            return True
        return self.wrong.low <= self.mean_p <= self.wrong.high


def kinds(answers: Iterable[Answered], profile: Profile) -> tuple[KindFigures, ...]:
    """Return the figures of every kind (task), by name.

    Args:
        answers: Scored answers (`Answered.scored_by`) that the detector was not fitted to.
        profile: What gives P(wrong).

    """
    by_kind: dict[str, list[Answered]] = defaultdict(list)
    for answered in answers:
        if not answered.declined:
            by_kind[answered.task].append(answered)
    return tuple(_figures(kind, by_kind[kind], profile) for kind in sorted(by_kind))


def _figures(kind: str, answers: list[Answered], profile: Profile) -> KindFigures:
    with_p = [
        (answered.wrong, p)
        for answered in answers
        if isinstance(answered.score, Score) and (p := profile.p_wrong(answered.score)) is not None
    ]
    n = len(with_p)
    return KindFigures(
        kind,
        proportion(sum(wrong for wrong, _ in with_p), n),
        sum(p for _, p in with_p) / n if n else None,
        len(answers) - n,
    )
