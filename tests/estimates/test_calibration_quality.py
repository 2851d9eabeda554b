from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from energy_guard.errors import InputError
from energy_guard.estimates.calibration_quality import (
    brier_skill,
    calibration_error,
    reliability,
)
from energy_guard.estimates.estimate import Estimate, Measured, NotDefined


def known(measured: Measured) -> Estimate:
    assert isinstance(measured, Estimate), measured
    return measured


def calibrated(n: int, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    p = random.beta(1, 2, n)
    return p, random.random(n) < p


def test_skill_is_measured_against_the_base_rate() -> None:
    p, wrong = calibrated(500)
    base = brier_score_loss(wrong, np.full(500, wrong.mean()))
    made = known(brier_skill(p, wrong))
    assert made.value == pytest.approx(1 - brier_score_loss(wrong, p) / base)
    assert made.low > 0
    constant = known(brier_skill(np.full(500, wrong.mean()), wrong))
    assert constant.value == pytest.approx(0, abs=1e-12)
    assert constant.low <= constant.high <= 1e-12, "another sample's base rate is never better"
    assert known(brier_skill(wrong.astype(float), wrong)).value == 1
    assert known(brier_skill(1 - p, wrong)).high < 0


def test_skill_within_tasks_knows_how_large_they_are() -> None:
    """Between tasks that differ much, the mix is a large part of the noise."""
    random = np.random.default_rng(0)
    tasks = np.repeat(["easy", "hard"], 200)
    p = np.where(tasks == "easy", 0.1, 0.9)
    wrong = random.random(400) < p
    free, fixed = known(brier_skill(p, wrong)), known(brier_skill(p, wrong, tasks=tasks))
    assert free.value == fixed.value
    assert fixed.high - fixed.low <= free.high - free.low


@pytest.mark.parametrize("wrong", [np.ones(9, dtype=bool), np.zeros(9, dtype=bool)])
def test_one_class_has_no_skill(wrong: Any) -> None:
    assert isinstance(brier_skill(np.full(9, 0.5), wrong), NotDefined)


def test_calibration_error_by_hand() -> None:
    random = np.random.default_rng(0)
    p = random.permutation(np.linspace(0, 1, 2500))
    wrong = random.random(2500) < p**2
    order = np.argsort(p)
    by_hand = sum(
        abs(p[part].mean() - wrong[part].mean()) / 10 for part in np.array_split(order, 10)
    )
    made = known(calibration_error(p, wrong))
    assert made.value == pytest.approx(by_hand)
    assert made.value == pytest.approx(1 / 6, abs=0.02)
    assert made.low < made.value < made.high


def test_a_perfect_probability_shows_what_the_note_says() -> None:
    made = known(calibration_error(*calibrated(4000)))
    assert made.value < 0.03
    shown = float(made.note.split("show ")[1].split(" ")[0])
    others = [known(calibration_error(*calibrated(4000, seed))).value for seed in range(1, 11)]
    assert np.mean(others) == pytest.approx(shown, abs=0.004)


def test_calibration_error_needs_its_rows() -> None:
    lacking = calibration_error(*calibrated(1999))
    assert isinstance(lacking, NotDefined)
    assert "2000" in lacking.reason


def test_equal_probabilities_share_a_bin() -> None:
    """However the rows are ordered: a constant has one bin, and the base rate no error."""
    wrong = np.arange(3000) < 900
    p = np.full(3000, 0.3)
    [only] = reliability(p, wrong)
    assert (only.p_wrong, known(only.wrong).value) == pytest.approx((0.3, 0.3))
    assert known(calibration_error(p, wrong)).value == pytest.approx(0, abs=1e-12)
    half = np.where(np.arange(3000) % 2 == 0, 0.2, 0.4)
    assert [round(part.p_wrong, 9) for part in reliability(half, wrong)] == [0.2, 0.4]


def test_many_equal_probabilities_swallow_no_others() -> None:
    p = np.repeat([0.1, 0.5, 0.9], [50, 900, 50])
    curve = reliability(p, np.arange(1000) % 2 == 0)
    assert [round(part.p_wrong, 9) for part in curve] == [0.1, 0.5, 0.9]


def test_the_bins_of_a_reliability_curve() -> None:
    p, wrong = calibrated(1000)
    curve = reliability(p, wrong)
    assert [known(part.wrong).n for part in curve] == [100] * 10
    parts = np.array_split(np.argsort(p), 10)
    for part, rows in zip(curve, parts, strict=True):
        assert part.p_wrong == pytest.approx(p[rows].mean())
        assert known(part.wrong).value == pytest.approx(wrong[rows].mean())
    assert reliability(np.zeros(0), np.zeros(0, dtype=bool)) == ()


@pytest.mark.parametrize("p", [[0.5, math.nan], [0.5, 1.1], [-0.1, 0.5], [0.5]])
@pytest.mark.parametrize("metric", [brier_skill, calibration_error, reliability])
def test_what_is_no_probability_is_refused(metric: Any, p: list[float]) -> None:
    with pytest.raises(InputError):
        metric(np.array(p), np.array([True, False]))
