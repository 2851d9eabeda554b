from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from energy_guard.errors import InputError
from energy_guard.estimates.confidence_targets import Graded, penalty, target_score, target_table
from energy_guard.estimates.estimate import Estimate, Measured, NotDefined

RIGHT = np.array([1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
WRONG = np.array([0, 0, 0, 1, 1, 1, 1, 0], dtype=bool)
"""Three right, four wrong; at the last one the model declined."""
P_WRONG = np.array([0.05, 0.2, math.nan, 0.05, 0.4, 0.6, 0.95, 0.1])


def value(measured: Measured) -> float:
    assert isinstance(measured, Estimate), measured
    assert measured.low <= measured.value <= measured.high
    return measured.value


def drawn(n: int, seed: int = 0) -> tuple[Graded, Any]:
    random = np.random.default_rng(seed)
    p = random.random(n)
    wrong = random.random(n) < p
    return Graded(~wrong, wrong), p


def test_scores_by_hand() -> None:
    table = target_table(Graded(RIGHT, WRONG), P_WRONG)
    assert [row.target for row in table] == [0, 0.5, 0.75, 0.9]
    assert [round(row.penalty, 9) for row in table] == [0, 1, 3, 9]
    always = [3 / 8, (3 - 4) / 8, (3 - 12) / 8, (3 - 36) / 8]
    guard = [2 / 8, (2 - 2) / 8, (2 - 3) / 8, (1 - 9) / 8]
    assert [value(row.always) for row in table] == pytest.approx(always)
    assert [value(row.guard) for row in table] == pytest.approx(guard)
    assert [value(row.oracle) for row in table] == pytest.approx([3 / 8] * 4)
    assert [value(row.gain) for row in table] == pytest.approx(np.subtract(guard, always))
    assert [value(row.share) for row in table] == pytest.approx(np.divide(guard, 3 / 8))
    assert [value(row.coverage) for row in table] == pytest.approx([6 / 8, 4 / 8, 3 / 8, 2 / 8])
    assert [value(row.accuracy) for row in table] == pytest.approx([2 / 6, 2 / 4, 2 / 3, 1 / 2])
    assert all(isinstance(row.abstained_unanswerable, NotDefined) for row in table)


def test_to_answer_at_the_limit_pays_nothing_and_is_not_done() -> None:
    graded = Graded(np.array([True, False]), np.array([False, True]))
    [row] = target_table(graded, np.array([0.25, 0.2499]), targets=[0.75])
    assert value(row.coverage) == 0.5
    assert value(row.guard) == pytest.approx(-3 / 2)


def test_abstaining_from_unanswerable_questions_is_counted_apart() -> None:
    answerable = np.array([1, 1, 1, 0, 1, 0, 0, 0], dtype=bool)
    [row] = target_table(Graded(RIGHT, WRONG, answerable), P_WRONG, targets=[0.75])
    assert value(row.abstained_unanswerable) == 3 / 4, "two withheld, one declined, one answered"
    [plain] = target_table(Graded(RIGHT, WRONG), P_WRONG, targets=[0.75])
    assert value(row.guard) == value(plain.guard), "and earns nothing"


def test_a_calibrated_guard_behaves_as_told_and_earns_more_than_others() -> None:
    graded, p = drawn(4000)
    for row in target_table(graded, p):
        t = row.target
        assert value(row.accuracy) >= t
        assert value(row.accuracy) == pytest.approx((1 + t) / 2, abs=0.03)
        expected = (1 - t) / 2  # the integral of (1 - p) - t/(1-t) p from 0 to 1 - t
        assert value(row.guard) == pytest.approx(expected, abs=0.03)
        assert value(row.share) == pytest.approx(2 * expected, abs=0.06)
        assert isinstance(row.gain, Estimate)
        assert row.gain.low > 0 or t == 0
        others = [
            value(target_score(graded, t, answered=p < limit)) for limit in (0.02, 1 - t / 2, 1)
        ]
        assert value(row.guard) >= max(others) - 0.01


def test_everything_is_answered_unless_said_otherwise() -> None:
    graded = Graded(RIGHT, WRONG)
    assert value(target_score(graded, 0.5)) == pytest.approx(-1 / 8)
    assert value(target_score(graded, 0.9, answered=np.zeros(8, dtype=bool))) == 0
    assert value(target_score(graded, 0.9, answered=RIGHT)) == pytest.approx(3 / 8)


def test_the_interval_of_a_score() -> None:
    graded, p = drawn(500)
    made = target_score(graded, 0.75, answered=p < 0.25)
    assert isinstance(made, Estimate)
    points = np.where(p < 0.25, graded.right - 3.0 * graded.wrong, 0)
    error = points.std() / math.sqrt(500)
    assert made.high - made.low == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_tasks_are_resampled_each_by_itself() -> None:
    right = np.repeat([True, False], 50)
    tasks = np.repeat(["known", "unknown"], 50)
    fixed = target_score(Graded(right, ~right, tasks=tasks), 0.5)
    assert isinstance(fixed, Estimate)
    assert (fixed.low, fixed.value, fixed.high) == (0, 0, 0)


def test_without_a_right_answer_there_is_nothing_to_share() -> None:
    wrong = np.ones(4, dtype=bool)
    [row] = target_table(Graded(~wrong, wrong), np.full(4, 0.9), targets=[0.5])
    assert isinstance(row.share, NotDefined)
    assert isinstance(row.accuracy, NotDefined)
    assert value(row.guard) == 0


@pytest.mark.parametrize(
    "columns",
    [
        (RIGHT, RIGHT),
        (RIGHT, WRONG[:-1]),
        (RIGHT, WRONG, np.zeros(8, dtype=bool)),
        (RIGHT[:0], WRONG[:0]),
    ],
    ids=["both", "lengths", "unanswerable and right", "none"],
)
def test_grades_that_contradict_each_other_are_refused(columns: tuple[Any, ...]) -> None:
    with pytest.raises(InputError):
        Graded(*columns)


@pytest.mark.parametrize("p_wrong", [np.full(8, 1.5), np.full(8, -0.1), np.full(7, 0.5)])
def test_what_is_no_probability_is_refused(p_wrong: Any) -> None:
    with pytest.raises(InputError):
        target_table(Graded(RIGHT, WRONG), p_wrong)


@pytest.mark.parametrize("target", [-0.1, 1.0, 1.5, math.nan])
def test_a_target_lies_below_one(target: float) -> None:
    with pytest.raises(InputError):
        penalty(target)
