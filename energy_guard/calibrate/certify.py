"""Promises: 'of the answers below this threshold at most a share max_risk is wrong'.

Risk is P(wrong given answered), over questions like those that were labelled. The test is exact
and asks nothing of the detector: a poor one gives low coverage or no promise, not a false one.
What makes a promise false all the same is looking again until it holds, so each look is counted.
docs/decisions/0004-promises.md has the reasons.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from energy_guard.calibrate.binomial import answers_needed, holm, p_values
from energy_guard.energy import Bools, Floats
from energy_guard.errors import InputError
from energy_guard.estimates.estimate import NotDefined, proportion
from energy_guard.profile import Certificate, TestedThreshold

GRID: Final = 10
"""Thresholds that are tested: more give finer coverage, and each costs power."""

FIRST_LOOK: Final = 0.8
"""What the first look may spend of 1 − confidence; each further one takes as much of the rest."""


@dataclass(frozen=True)
class Labelled:
    """Rows to certify on, one a question, as they come out under the policy as it runs.

    questions: what tells them apart. risk: what the policy compares with its threshold, NaN
    if the answer is not shown whatever the threshold: not located, unscored, or the model
    itself declined. wrong: whether the answer is wrong, for those that are not shown too. shown:
    where it is shown whatever the threshold (policies that show unscored answers).
    """

    questions: Sequence[str]
    risk: Floats
    wrong: Bools
    shown: Bools | None = None

    def __post_init__(self) -> None:
        n = len(self.questions)
        shown = self.always_shown
        if not n or not n == len(self.risk) == len(self.wrong) == len(shown):
            raise InputError(
                f"{n} questions, {len(self.risk)} risks, {len(self.wrong)} labels: "
                "one of each is needed for every row, and at least one row"
            )
        if len(set(self.questions)) != n:
            raise InputError(
                "a question comes twice: a promise needs rows that do not depend on each other",
                "Keep one row of each question.",
            )
        if np.any(np.isinf(self.risk)):
            raise InputError("a risk is infinite", "Mark what has no score with NaN.")

    @property
    def always_shown(self) -> Bools:
        """`shown`, with False for all if it is not given."""
        return np.zeros(len(self.questions), dtype=bool) if self.shown is None else self.shown

    @property
    def digest(self) -> str:
        """A hash of everything that a promise about these rows depends on, in any order."""
        columns = (self.questions, self.risk.tolist(), self.wrong.tolist())
        rows = sorted(map(repr, zip(*columns, self.always_shown.tolist(), strict=True)))
        return hashlib.sha256("\n".join(rows).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def threshold_grid(risk: Floats, size: int = GRID) -> tuple[float, ...]:
    """Return thresholds below which 1/size, 2/size, … of the scored rows lie, ends included.

    For rows that are not certified on. Each lies halfway between two neighbouring risks, so that
    an answer on the edge of rounding does not change sides; equal risks share a side. Raises
    InputError if no row has a risk.

    >>> threshold_grid(np.array([0.1, 0.2, 0.3, 0.4]), 2)
    (0.25, 0.4000000000000001)
    """
    values = np.sort(risk[np.isfinite(risk)])
    if not len(values):
        raise InputError("no row has a score, so there are no thresholds to choose from")
    grid = set()
    for step in range(1, size + 1):
        last = values[math.ceil(step * len(values) / size) - 1]
        above = values[values > last]
        middle = (last + above[0]) / 2 if len(above) else last
        grid.add(float(middle) if middle > last else float(np.nextafter(last, np.inf)))
    return tuple(sorted(grid))


def spend(confidence: float, look: int) -> float:
    """Return what look number `look` (from 1) may spend of 1 − confidence.

    Four fifths at the first, then four fifths of what is left: all looks together, however many,
    spend no more than 1 − confidence.

    >>> [round(spend(0.95, look), 4) for look in (1, 2, 3)]
    [0.04, 0.008, 0.0016]
    """
    return (1 - confidence) * FIRST_LOOK * (1 - FIRST_LOOK) ** (look - 1)


def certify(
    rows: Labelled,
    thresholds: Sequence[float],
    *,
    max_risk: float,
    confidence: float,
    basis: str,
    earlier: Sequence[Certificate] = (),
) -> Certificate:
    """Test which thresholds hold max_risk, and choose the one with most coverage among them.

    thresholds: fixed without these rows (`threshold_grid`). earlier: all certificates that were
    made with rows of these questions before, whatever came out: each was a look. The same look
    again (same rows, thresholds, max_risk, confidence and basis) returns what it gave then.
    """
    if not (0 < max_risk < 1 and 0 < confidence < 1):
        raise InputError(f"max_risk {max_risk} and confidence {confidence} lie between 0 and 1")
    grid = tuple(sorted(set(thresholds)))
    if not grid or not all(map(math.isfinite, grid)):
        raise InputError("thresholds must be numbers, and at least one")
    asked = (rows.digest, grid, max_risk, confidence, basis)
    for made in earlier:
        if asked == (made.rows, _grid(made), made.max_risk, made.confidence, made.basis):
            return made
    look = len(earlier) + 1
    delta = spend(confidence, look)
    tested = _test(rows, grid, max_risk, delta)
    best = max((row for row in tested if row.holds), key=lambda row: row.answered, default=None)
    base = float(np.mean(rows.wrong))
    more = None if best else _more(tested, len(rows.risk), max_risk, spend(confidence, look + 1))
    least = max(0.0, (base - max_risk) / (1 - max_risk))
    return Certificate(
        basis=basis,
        rows=asked[0],
        n=len(rows.risk),
        max_risk=max_risk,
        confidence=confidence,
        look=look,
        delta=delta,
        tested=tested,
        threshold=best.threshold if best else None,
        more_answers=more and more[0],
        more_rows=more and more[1],
        least_abstention=least,
        reason=_promise(best, max_risk, confidence)
        if best
        else _refusal(tested, more, max_risk, delta),
    )


def _grid(made: Certificate) -> tuple[float, ...]:
    return tuple(row.threshold for row in made.tested)


def _test(
    rows: Labelled, grid: tuple[float, ...], max_risk: float, delta: float
) -> tuple[TestedThreshold, ...]:
    below = rows.risk[None, :] < np.array(grid)[:, None]  # NaN is below nothing
    answered = below | rows.always_shown
    n, wrong = answered.sum(axis=1), (answered & rows.wrong).sum(axis=1)
    p = p_values(wrong, n, max_risk=max_risk)
    columns = zip(grid, n.tolist(), wrong.tolist(), p.tolist(), holm(p, delta), strict=True)
    return tuple(
        TestedThreshold(
            threshold=threshold,
            answered=count,
            wrong=errors,
            risk=proportion(errors, count),
            coverage=proportion(count, len(rows.risk)),
            p_value=value,
            holds=bool(holds),
        )
        for threshold, count, errors, value, holds in columns
    )


def _more(
    tested: Sequence[TestedThreshold], n: int, max_risk: float, delta: float
) -> tuple[int, int] | None:
    """The fewest further rows, answered and in all, that another look would need."""
    found = []
    for row in tested:
        if row.answered:
            needed = answers_needed(row.wrong / row.answered, max_risk, level=delta / len(tested))
            if needed is not None:
                further = max(1, needed - row.answered)
                found.append((math.ceil(further * n / row.answered), further))
    if not found:
        return None
    in_all, further = min(found)
    return further, in_all


def _promise(best: TestedThreshold, max_risk: float, confidence: float) -> str:
    return (
        f"of the answers with a risk below {best.threshold:.4g} at most {100 * max_risk:g} % are "
        f"wrong, at {100 * confidence:g} % confidence (here {best.wrong} of {best.answered} were)"
    )


def _refusal(
    tested: Sequence[TestedThreshold], more: tuple[int, int] | None, max_risk: float, delta: float
) -> str:
    said = f"that at most {100 * max_risk:g} % of the shown answers are wrong cannot be promised"
    fewest = answers_needed(0, max_risk, level=delta / len(tested))
    most = max(row.answered for row in tested)
    if most == 0:
        return f"{said}: no row was answered, and it takes {fewest} answered ones, all right"
    if more is not None:
        few = f"even without an error it takes {fewest} answered rows; "
        return (
            f"{said}: {few if fewest and most < fewest else ''}about {more[0]} more answered rows "
            f"({more[1]} rows in all) would do if their share of wrong answers is the one seen here"
        )
    above = [isinstance(row.risk, NotDefined) or row.risk.low > max_risk for row in tested]
    if all(above):
        return f"{said}: more than that are wrong at every threshold, and more rows will not do"
    return (
        f"{said}: at every threshold more of these rows were wrong; more rows would only do if "
        "fewer of them are"
    )
