"""How far P(wrong) is off somewhere else, from answers there of which few or none are labelled.

It rests on one assumption, label shift: only the share of wrong answers differs, and wrong answers
have such scores as wrong answers had where P(wrong) was fitted, and right ones as right ones
(Saerens, Latinne and Decaestecker 2002, who find the share by EM). docs/results.md measures where
that fails. More answers do not mend it, so all unlabelled ones together count no more than `MOST`,
and a large shift has to be borne out. A label is about the level itself, and counts in full.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from energy_guard.energy import Bools, Floats
from energy_guard.errors import InputError
from energy_guard.estimates.estimate import Estimate

WIDTH: Final = 1.0
"""Standard deviation of the prior on the shift, in log-odds: how far tasks lie from each other."""

MOST: Final = 4.0
"""As many answers do unlabelled ones count for, however many there are."""

_GRID: Final = np.linspace(-6.0, 6.0, 601)
"""Shifts that are weighed against each other, in log-odds."""


@dataclass(frozen=True, eq=False)
class LabelledScores:
    """What labels say of some answers.

    p_wrong: P(wrong) of each where it was fitted, (n,). wrong: the labels, (n,). weight: how many
    answers each stands for beside the others, as the rarer kind may have been labelled first, (n,).
    """

    p_wrong: Floats
    wrong: Bools
    weight: Floats


@dataclass(frozen=True)
class Shift:
    """How far the log-odds of all answers move, and the share of wrong ones that this gives.

    log_odds: what is added to all of them. share: the mean P(wrong) then, with the middle 95 % of
    what is to be believed of it. before: the mean P(wrong) without the shift.
    """

    log_odds: float
    share: Estimate
    before: float


def shift_of(
    p_wrong: Floats,
    base: float,
    *,
    told: LabelledScores | None = None,
    width: float = WIDTH,
    most: float = MOST,
) -> Shift:
    """Estimate the shift of the log-odds among these answers.

    With a share s of wrong ones there, a score whose P(wrong) was p is (1 − s)(1 − p)/(1 − base)
    + s·p/base times as likely as before. A label weighs the shift by how likely it is given the
    score, so answers may have been chosen for labelling by their scores.

    Args:
        p_wrong: P(wrong) of each answer where it was fitted, strictly between 0 and 1, (n,).
        base: The share of wrong answers there, between 0 and 1.
        told: What labels say of some of them.
        width: Standard deviation of the prior on the shift, in log-odds.
        most: As many answers do all of these count for, labels aside.

    Returns:
        The mean of what is then to be believed, and what follows from it.

    Raises:
        InputError: There is no answer, or a probability is not between 0 and 1.

    >>> round(shift_of(np.full(400, 0.9), 0.5).share.value, 2)
    0.96

    """
    if not len(p_wrong) or not 0 < base < 1 or not np.all((p_wrong > 0) & (p_wrong < 1)):
        raise InputError("P(wrong) of one answer or more is needed, between 0 and 1 like the base")
    odds = np.log(p_wrong) - np.log1p(-p_wrong)
    temper = min(1.0, most / len(p_wrong))
    belief = np.array([temper * _seen(p_wrong, base, shift) for shift in _GRID.tolist()])
    if told is not None:
        belief += [_said(told, shift) for shift in _GRID.tolist()]
    belief -= (_GRID / width) ** 2 / 2
    belief = np.exp(belief - belief.max())
    belief /= belief.sum()
    mean = float(belief @ _GRID)
    low, high = np.interp([0.025, 0.975], np.cumsum(belief), _GRID).tolist()
    value, lowest, highest = (float(_logistic(odds + at).mean()) for at in (mean, low, high))
    share = Estimate(value, lowest, highest, len(p_wrong))
    return Shift(mean, share, float(p_wrong.mean()))


def _seen(p_wrong: Floats, base: float, shift: float) -> float:
    """The log-likelihood of all scores under a shift, up to a constant."""
    share = 1 / (1 + (1 - base) / base * math.exp(-shift))
    mixed = (1 - share) * (1 - p_wrong) / (1 - base) + share * p_wrong / base
    return float(np.log(mixed).sum())


def _said(told: LabelledScores, shift: float) -> float:
    """The log-likelihood of the labels under a shift, given the scores."""
    odds = np.log(told.p_wrong) - np.log1p(-told.p_wrong) + shift
    return -float(told.weight @ np.logaddexp(0, np.where(told.wrong, -odds, odds)))


def _logistic(odds: Floats) -> Floats:
    p: Floats = 1 / (1 + np.exp(-odds))
    return p
