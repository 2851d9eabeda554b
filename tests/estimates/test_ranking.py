from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap, norm
from sklearn.metrics import roc_auc_score

from energy_guard.errors import InputError
from energy_guard.estimates.bootstrap import Sample, interval
from energy_guard.estimates.estimate import Estimate, Measured, NotDefined
from energy_guard.estimates.ranking import (
    _aurc,
    _auroc,
    aurc,
    aurc_excess,
    auroc,
    coverage_at_risk,
    risk_coverage,
)


def known(measured: Measured) -> Estimate:
    assert isinstance(measured, Estimate), measured
    assert measured.low <= measured.value <= measured.high
    return measured


def answers(n: int, gap: float, seed: int = 0, base: float = 0.4) -> tuple[Any, Any]:
    """Normal risks; wrong ones lie higher by `gap`."""
    random = np.random.default_rng(seed)
    wrong = random.random(n) < base
    return random.normal(0, 1, n) + gap * wrong, wrong


TIED = st.lists(
    st.tuples(st.integers(0, 5).map(float), st.booleans()), min_size=2, max_size=30
).filter(lambda rows: len({wrong for _, wrong in rows}) == 2)


def columns(rows: list[tuple[float, bool]]) -> tuple[Any, Any]:
    risk, wrong = zip(*rows, strict=True)
    return np.array(risk), np.array(wrong)


# The bootstrap.


def test_the_bootstrap_of_a_mean_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).exponential(1, 150)
    sample = Sample(lambda counts: counts @ values / counts.sum(axis=1), len(values))
    ours = known(interval(sample))
    drawn = np.random.default_rng(2)  # `rng` is this argument's name from SciPy 1.15 on
    theirs = bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", random_state=drawn
    ).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.015)


def test_the_same_rows_give_the_same_interval() -> None:
    assert auroc(*answers(100, 1.0)) == auroc(*answers(100, 1.0))


def test_strata_are_drawn_as_large_as_they_are() -> None:
    strata = np.array(["a", "b", "a", "c", "b", "a"])
    seen = []

    def statistic(counts: Any) -> Any:
        seen.append(counts)
        return counts.sum(axis=1).astype(np.float64)

    Sample(statistic, 6, strata).resampled([0])
    counts = np.concatenate(seen)
    assert len(counts) == 2000
    for name, size in (("a", 3), ("b", 2), ("c", 1)):
        assert (counts[:, strata == name].sum(axis=1) == size).all()
    assert (counts[:, 3] == 1).all(), "alone in its stratum"
    drawn = counts[:, strata == "a"].ravel()
    assert np.bincount(drawn) / drawn.size == pytest.approx(
        [(2 / 3) ** 3, 3 * (1 / 3) * (2 / 3) ** 2, 3 * (1 / 9) * (2 / 3), 1 / 27], abs=0.02
    )


def test_many_rows_are_drawn_in_blocks_that_are_all_different() -> None:
    values = np.random.default_rng(0).random(9_000)
    draws = Sample(lambda counts: counts @ values, len(values)).resampled([0])
    assert len(draws) == len(set(draws.tolist())) == 2000


def test_a_statistic_that_most_resamples_lack_is_not_defined() -> None:
    def ratio(counts: Any) -> Any:
        return np.where(counts[:, 0] > 0, 1.0, np.nan)

    assert isinstance(interval(Sample(ratio, 50)), NotDefined)


# AUROC.


@settings(deadline=None)
@given(TIED)
def test_auroc_is_the_share_of_pairs_in_order(rows: list[tuple[float, bool]]) -> None:
    risk, wrong = columns(rows)
    pairs = itertools.product(risk[wrong], risk[~wrong])
    share = np.mean([(bad > good) + (bad == good) / 2 for bad, good in pairs])
    made = known(auroc(risk, wrong))
    assert made.value == pytest.approx(share)
    assert made.value == pytest.approx(roc_auc_score(wrong, risk))
    assert made.n == len(rows)
    assert "only" in made.note


def test_the_interval_of_auroc_agrees_with_delong() -> None:
    risk, wrong = answers(400, 1.0)
    bad, good = risk[wrong], risk[~wrong]
    above = bad[:, None] > good[None, :]
    variance = above.mean(1).var(ddof=1) / len(bad) + above.mean(0).var(ddof=1) / len(good)
    made = known(auroc(risk, wrong))
    assert made.high - made.low == pytest.approx(2 * 1.96 * math.sqrt(variance), rel=0.06)
    assert made.note == ""


def test_the_interval_of_auroc_covers_the_truth() -> None:
    truth = norm.cdf(1 / math.sqrt(2))
    hits = 0
    for seed in range(200):
        made = known(auroc(*answers(150, 1.0, seed)))
        hits += made.low <= truth <= made.high
    assert 0.90 <= hits / 200 <= 0.99


@pytest.mark.parametrize("wrong", [np.ones(5, dtype=bool), np.zeros(5, dtype=bool)])
def test_one_class_has_no_auroc(wrong: Any) -> None:
    lacking = auroc(np.arange(5.0), wrong)
    assert isinstance(lacking, NotDefined)
    assert lacking.reason.startswith(f"all 5 answers are {'wrong' if wrong[0] else 'right'}")
    assert isinstance(auroc(np.zeros(0), np.zeros(0, dtype=bool)), NotDefined)


@pytest.mark.parametrize("risk", [[0.0, math.nan], [0.0, math.inf], [0.0, 1.0, 2.0]])
@pytest.mark.parametrize("metric", [auroc, aurc, aurc_excess])
def test_a_ranking_needs_a_risk_for_every_row(metric: Any, risk: list[float]) -> None:
    with pytest.raises(InputError):
        metric(np.array(risk), np.array([True, False]))


def test_labels_are_no_numbers() -> None:
    with pytest.raises(InputError, match="int"):
        auroc(np.array([0.0, 1.0]), np.array([0, 1]))  # type: ignore[arg-type]


# Risk and coverage.


def mean_aurc(risk: Any, wrong: Any) -> float:
    """The mean over all orders of equal risks, one after the other."""
    areas = []
    for order in itertools.permutations(range(len(risk))):
        if all(risk[a] <= risk[b] for a, b in itertools.pairwise(order)):
            errors = np.cumsum(wrong[list(order)])
            areas.append(np.mean(errors / np.arange(1, len(risk) + 1)))
    return float(np.mean(areas))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2).map(float), st.booleans()), min_size=1, max_size=6))
def test_aurc_is_the_mean_over_orders_of_equal_risks(rows: list[tuple[float, bool]]) -> None:
    risk, wrong = columns(rows)
    assert known(aurc(risk, wrong)).value == pytest.approx(mean_aurc(risk, wrong))
    assert known(aurc_excess(risk, wrong)).value == pytest.approx(
        mean_aurc(risk, wrong) - mean_aurc(wrong.astype(float), wrong), abs=1e-12
    )


def test_resamples_are_measured_like_rows_that_are_there_twice() -> None:
    risk, wrong = answers(40, 1.0)
    counts = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=3)
    for row in counts:
        again = np.repeat(risk, row), np.repeat(wrong, row)
        assert _aurc(risk, wrong)(row[None])[0] == pytest.approx(known(aurc(*again)).value)
        assert _auroc(risk, wrong)(row[None])[0] == pytest.approx(known(auroc(*again)).value)


def test_the_excess_is_nothing_for_an_oracle_and_much_for_its_opposite() -> None:
    _, wrong = answers(200, 1.0)
    best = known(aurc_excess(wrong.astype(float), wrong))
    assert (best.value, best.low, best.high) == pytest.approx((0, 0, 0), abs=1e-12)
    worst = known(aurc_excess(-wrong.astype(float), wrong))
    assert worst.low > 0.3
    constant = known(aurc(np.zeros(200), wrong))
    assert constant.value == pytest.approx(wrong.mean())


def test_the_curve_counts_what_is_answered() -> None:
    risk = np.array([0.3, 0.1, math.nan, 0.3, 0.2, 0.9])
    wrong = np.array([True, False, True, False, False, True])
    curve = risk_coverage(risk, wrong)
    assert curve.threshold.tolist() == [0.1, 0.2, 0.3, 0.9]
    assert curve.answered.tolist() == [1, 2, 4, 5]
    assert curve.coverage == pytest.approx([1 / 6, 2 / 6, 4 / 6, 5 / 6])
    assert curve.risk == pytest.approx([0, 0, 1 / 4, 2 / 5])
    for n, share, low, high in zip(curve.answered, curve.risk, curve.low, curve.high, strict=True):
        exact = binomtest(round(share * n), int(n)).proportion_ci(0.95, "exact")
        assert (low, high) == pytest.approx((exact.low, exact.high))


def test_a_curve_without_any_risk_is_empty() -> None:
    curve = risk_coverage(np.full(3, math.nan), np.ones(3, dtype=bool))
    assert not len(curve.coverage)


@pytest.mark.parametrize(
    ("max_risk", "coverage"), [(0.0, 2 / 6), (0.2, 2 / 6), (0.25, 4 / 6), (0.4, 5 / 6), (1, 5 / 6)]
)
def test_coverage_at_risk_by_hand(max_risk: float, coverage: float) -> None:
    risk = np.array([0.3, 0.1, math.nan, 0.3, 0.2, 0.9])
    wrong = np.array([True, False, True, False, False, True])
    assert known(coverage_at_risk(risk, wrong, max_risk=max_risk)).value == pytest.approx(coverage)


@settings(deadline=None)
@given(TIED, st.floats(0, 1))
def test_coverage_at_risk_is_that_of_the_curve(
    rows: list[tuple[float, bool]], max_risk: float
) -> None:
    risk, wrong = columns(rows)
    curve = risk_coverage(risk, wrong)
    held = [c for c, r in zip(curve.coverage, curve.risk, strict=True) if r <= max_risk]
    made = coverage_at_risk(risk, wrong, max_risk=max_risk)
    assert isinstance(made, Estimate)
    assert made.value == pytest.approx(max(held, default=0))


def test_without_risks_nothing_is_covered() -> None:
    made = known(coverage_at_risk(np.full(4, math.nan), np.zeros(4, dtype=bool), max_risk=0.5))
    assert (made.value, made.high) == (0, 0)
    assert isinstance(
        coverage_at_risk(np.zeros(0), np.zeros(0, dtype=bool), max_risk=0.5), NotDefined
    )
    assert isinstance(aurc(np.zeros(0), np.zeros(0, dtype=bool)), NotDefined)
