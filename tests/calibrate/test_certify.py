from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from benchmarks.certificates import Curve, look_until_it_holds, needed_rows, simulate
from energy_guard import Policy
from energy_guard.calibrate.binomial import answers_needed, chance_to_certify, holm, p_values
from energy_guard.calibrate.certify import Labelled, certify, spend, threshold_grid
from energy_guard.errors import ConfigError, InputError
from energy_guard.estimates.estimate import Estimate, NotDefined
from energy_guard.profile import Certificate


def labelled(risk: Any, wrong: Any, shown: Any = None, prefix: str = "q") -> Labelled:
    risk = np.asarray(risk, dtype=np.float64)
    names = [f"{prefix}{number}" for number in range(len(risk))]
    return Labelled(names, risk, np.asarray(wrong, dtype=bool), shown)


def rows(n: int, n_wrong: int) -> Labelled:
    """All with the same risk of 0.5."""
    return labelled(np.full(n, 0.5), np.arange(n) < n_wrong)


def look(data: Labelled, *earlier: Certificate, **changes: Any) -> Certificate:
    settings: dict[str, Any] = {
        "thresholds": [0.6],
        "max_risk": 0.1,
        "confidence": 0.95,
        "basis": "b",
    }
    return certify(data, **settings | changes, earlier=earlier)


# The exact test and its correction.


@given(n=st.integers(1, 400), share=st.floats(0, 1), max_risk=st.floats(0.01, 0.99))
def test_p_values_are_those_of_the_exact_binomial_test(
    n: int, share: float, max_risk: float
) -> None:
    wrong = int(share * n)
    [p] = p_values(np.array([wrong]), np.array([n]), max_risk=max_risk)
    assert p == pytest.approx(binomtest(wrong, n, max_risk, "less").pvalue, abs=1e-12)


def test_without_answers_nothing_speaks_for_a_low_risk() -> None:
    assert p_values(np.array([0]), np.array([0]), max_risk=0.1).tolist() == [1.0]


@given(p=st.lists(st.floats(0, 0.2), min_size=1, max_size=6), delta=st.floats(0.01, 0.3))
def test_holm_is_the_closed_test_of_bonferroni(p: list[float], delta: float) -> None:
    """Rejected: whatever is rejected in every set of hypotheses that it belongs to."""
    sets = [
        subset
        for size in range(1, len(p) + 1)
        for subset in itertools.combinations(range(len(p)), size)
    ]
    refused = {s for s in sets if min(p[i] for i in s) <= delta / len(s)}
    expected = [all(s in refused for s in sets if i in s) for i in range(len(p))]
    assert holm(np.array(p), delta).tolist() == expected


@pytest.mark.parametrize(
    ("thresholds", "needed"), [(10, (51, 104, 528)), (1, (29, 59, 299))], ids=["ten", "one"]
)
def test_the_rows_it_takes_without_an_error(thresholds: int, needed: tuple[int, ...]) -> None:
    for max_risk, n in zip((0.10, 0.05, 0.01), needed, strict=True):
        level = 0.05 / thresholds
        assert answers_needed(0, max_risk, level=level) == n
        assert binom.cdf(0, n, max_risk) <= level < binom.cdf(0, n - 1, max_risk)


@pytest.mark.parametrize(("wrong", "n"), [(1, 40), (3, 90), (20, 300), (5, 60)])
def test_the_rows_it_takes_with_errors(wrong: int, n: int) -> None:
    """Between whole numbers of errors the answer lies between those of the whole ones."""
    level = 0.005
    needed = answers_needed(wrong / n, 0.1, level=level)
    assert needed is not None
    errors = wrong / n * needed
    assert binom.cdf(math.floor(errors), needed, 0.1) <= level
    assert binom.cdf(math.ceil(errors), needed - 1, 0.1) > level


@pytest.mark.parametrize("rate", [0.1, 0.2, 1.0])
def test_no_number_of_rows_lowers_the_risk(rate: float) -> None:
    assert answers_needed(rate, 0.1, level=0.005) is None


# Thresholds.


def test_the_grid_cuts_off_equal_parts() -> None:
    risk = np.random.default_rng(0).permutation(np.linspace(0, 1, 1000))
    grid = threshold_grid(risk)
    assert [np.sum(risk < cut) for cut in grid] == list(range(100, 1001, 100))


@given(
    risk=st.lists(st.integers(0, 6).map(float) | st.just(math.nan), min_size=1, max_size=40),
    size=st.integers(1, 12),
)
def test_the_grid_reaches_each_part_and_splits_no_equal_risks(risk: list[float], size: int) -> None:
    values = np.array(risk)
    n = int(np.isfinite(values).sum())
    if not n:
        with pytest.raises(InputError, match="no row has a score"):
            threshold_grid(values, size)
        return
    grid = threshold_grid(values, size)
    below = [int(np.sum(values < cut)) for cut in grid]
    assert below == sorted(set(below)), "each threshold adds answers"
    assert below[-1] == n
    assert set(grid).isdisjoint(risk), "no risk lies on a threshold"
    for step in range(1, size + 1):
        fewest = math.ceil(step * n / size)
        edge = np.sort(values)[fewest - 1]
        assert np.sum(values <= edge) in below


def test_the_whole_grid_of_probabilities_can_be_a_policy() -> None:
    grid = threshold_grid(np.linspace(0.01, 0.99, 50))
    assert Policy(on="p_wrong", abstain=grid[-1]).abstain == grid[-1]


# Looks.


def test_all_looks_together_spend_no_more_than_there_is() -> None:
    spent = [spend(0.9, number) for number in range(1, 60)]
    assert spent == sorted(spent, reverse=True)
    assert sum(spent) == pytest.approx(0.1)
    assert sum(spent[:10]) < 0.1


@pytest.mark.parametrize(
    "changes",
    [
        {"max_risk": 0.2},
        {"confidence": 0.9},
        {"basis": "another"},
        {"thresholds": [0.6, 0.7]},
        {"data": rows(81, 0)},
        {"data": rows(80, 1)},
        {"data": labelled(np.full(80, 0.4), np.zeros(80))},
    ],
    ids=["risk", "confidence", "basis", "thresholds", "rows", "labels", "scores"],
)
def test_whatever_changes_is_another_look(changes: dict[str, Any]) -> None:
    first = look(rows(80, 0))
    assert (first.look, first.delta) == (1, pytest.approx(0.04))
    second = look(changes.pop("data", rows(80, 0)), first, **changes)
    assert second.look == 2
    assert second.delta == pytest.approx(0.2 * 0.8 * (1 - second.confidence))
    third = look(rows(80, 0), first, second, max_risk=0.3)
    assert (third.look, third.delta) == (3, pytest.approx(0.0016))


def test_the_same_look_again_costs_nothing() -> None:
    data = rows(80, 0)
    first = look(data)
    other = look(data, first, max_risk=0.2)
    shuffled = Labelled(data.questions[::-1], data.risk[::-1], data.wrong[::-1])
    assert look(shuffled, first, other) is first


def test_a_look_that_came_to_nothing_makes_the_next_one_stricter() -> None:
    assert look(rows(31, 0)).threshold == 0.6, "0.9^31 is below 0.04"
    earlier = look(rows(20, 0))
    assert earlier.threshold is None
    assert look(rows(31, 0), earlier).threshold is None
    assert look(rows(46, 0), earlier).threshold == 0.6, "0.9^46 is below 0.008"


# What a certificate says.


def test_the_numbers_of_each_threshold() -> None:
    risk = np.array([0.1] * 100 + [0.3] * 50 + [0.5] * 40 + [math.nan] * 10)
    wrong = np.zeros(200, dtype=bool)
    wrong[[0, 100, 101, 160, *range(190, 200)]] = True
    made = look(labelled(risk, wrong), thresholds=[0.2, 0.4, 0.6])
    counts = [(row.threshold, row.answered, row.wrong) for row in made.tested]
    assert counts == [(0.2, 100, 1), (0.4, 150, 3), (0.6, 190, 4)]
    for row in made.tested:
        assert isinstance(row.risk, Estimate)
        assert isinstance(row.coverage, Estimate)
        exact = binomtest(row.wrong, row.answered).proportion_ci(0.95, "exact")
        assert (row.risk.low, row.risk.high) == pytest.approx((exact.low, exact.high))
        assert row.coverage.value == row.answered / 200
    assert [row.holds for row in made.tested] == [True, True, True]
    assert made.threshold == 0.6, "the one with most coverage"
    assert "at most 10 %" in made.reason
    assert "95 %" in made.reason
    assert made.least_abstention == 0


def test_an_answer_at_the_threshold_is_not_answered() -> None:
    """As in a policy, which abstains at or above its limit."""
    made = look(labelled([0.6, 0.5, math.nan], [True, True, True]))
    assert made.tested[0].answered == 1


def test_what_is_always_shown_counts_as_answered() -> None:
    shown = np.array([True, False, False])
    made = look(labelled([math.nan, 0.5, 0.9], [True, False, True], shown))
    assert (made.tested[0].answered, made.tested[0].wrong) == (2, 1)


@pytest.mark.parametrize("n_wrong", [0, 1, 2])
def test_so_many_more_rows_would_do(n_wrong: int) -> None:
    made = look(labelled([0.5] * 40 + [0.9] * 40, [i < n_wrong for i in range(80)]))
    assert (made.threshold is None) == (n_wrong > 0)
    if made.threshold is None:
        assert made.more_answers is not None
        assert made.more_rows == 2 * made.more_answers
        assert str(made.more_answers) in made.reason
        n = 40 + made.more_answers
        errors = n_wrong * n / 40
        assert look(rows(math.ceil(1.03 * n), math.floor(errors)), made).threshold == 0.6
        assert look(rows(math.floor(0.97 * n), math.ceil(errors)), made).threshold is None


def test_too_few_rows_are_called_too_few() -> None:
    made = look(rows(20, 0))
    assert "it takes 31 answered rows" in made.reason
    assert made.more_answers == 46 - 20, "the next look gets less"
    assert "rows" not in look(rows(31, 0)).reason


def test_where_no_number_of_rows_would_do_it_is_said() -> None:
    made = look(rows(200, 100))
    assert (made.threshold, made.more_answers, made.more_rows) == (None, None, None)
    assert "more rows will not do" in made.reason
    assert made.least_abstention == pytest.approx((0.5 - 0.1) / (1 - 0.1))
    unlucky = look(rows(20, 3))
    assert unlucky.more_rows is None
    assert "more rows would only do if fewer of them are" in unlucky.reason


def test_where_nothing_is_answered_it_is_said() -> None:
    made = look(labelled([0.9, math.nan], [False, True]))
    assert made.threshold is None
    assert isinstance(made.tested[0].risk, NotDefined)
    assert "no row was answered" in made.reason


@pytest.mark.parametrize("data", [rows(80, 0), rows(80, 7), labelled([0.9], [False])])
def test_a_certificate_reads_as_it_was_written(data: Labelled) -> None:
    made = look(data, thresholds=[0.2, 0.6])
    assert Certificate(**json.loads(made.model_dump_json())) == made


def test_a_certificate_with_another_threshold_is_refused() -> None:
    made = json.loads(look(rows(80, 0)).model_dump_json())
    with pytest.raises(ConfigError, match="none of those that hold"):
        Certificate(**made | {"threshold": 0.7})


@pytest.mark.parametrize(
    ("questions", "risk", "wrong", "named"),
    [
        (["a", "a"], [0.1, 0.2], [True, False], "twice"),
        (["a"], [0.1, 0.2], [True, False], "1 questions, 2 risks"),
        ([], [], [], "at least one row"),
        (["a", "b"], [-math.inf, 0.2], [True, False], "infinite"),
    ],
)
def test_rows_that_allow_no_promise_are_refused(
    questions: list[str], risk: list[float], wrong: list[bool], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        Labelled(questions, np.array(risk, dtype=np.float64), np.array(wrong, dtype=bool))


@pytest.mark.parametrize(
    "changes",
    [{"max_risk": 0}, {"max_risk": 1}, {"confidence": 1}, {"thresholds": []},
     {"thresholds": [math.inf]}, {"thresholds": [math.nan]}],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        look(rows(10, 0), **changes)


# Are promises kept, and are they made? Known risks, 500 certificates each.


@pytest.mark.parametrize(
    ("curve", "max_risk", "confidence", "n"),
    [
        (Curve(0.1005, 0.1005), 0.1, 0.95, 600),
        (Curve(0.2001, 0.2001), 0.2, 0.8, 300),
        (Curve(0.2, 0.9, 2), 0.2, 0.8, 300),
        (Curve(0.05, 0.9, 2), 0.2, 0.8, 300),
    ],
    ids=["flat", "flat, low confidence", "rising from the limit", "rising"],
)
def test_no_more_promises_are_broken_than_allowed(
    curve: Curve, max_risk: float, confidence: float, n: int
) -> None:
    made = simulate(curve, max_risk, confidence, n, runs=500)
    assert made.exceeding <= 1 - confidence


@pytest.mark.parametrize(
    ("curve", "max_risk", "confidence"),
    [
        (Curve(0, 0.2), 0.1, 0.95),
        (Curve(0.01, 0.01), 0.05, 0.95),
        (Curve(0.09, 0.09), 0.2, 0.95),
        (Curve(0.05, 0.9, 2), 0.2, 0.95),
        (Curve(0, 0.9), 0.3, 0.9),
    ],
    ids=["good", "flat", "flat, near", "steep", "mostly wrong"],
)
def test_with_twice_the_needed_rows_a_promise_is_made(
    curve: Curve, max_risk: float, confidence: float
) -> None:
    needed = needed_rows(curve, max_risk, confidence)
    assert needed is not None
    made = simulate(curve, max_risk, confidence, 2 * needed, runs=500)
    assert made.certified >= 0.8
    assert made.exceeding <= 1 - confidence


def test_looking_until_it_holds_breaks_no_more_promises() -> None:
    curve, runs = Curve(0.2001, 0.2001), 200
    false = sum(look_until_it_holds(curve, 0.2, 0.8, 100, 4, seed) for seed in range(runs))
    assert false / runs <= 0.2


def test_the_chance_to_certify_is_what_drawings_give() -> None:
    wrong, answered, later = np.array([2, 9, 0]), np.array([40, 60, 0]), np.array([80, 100, 0])
    chance = chance_to_certify(wrong, answered, later=later, max_risk=0.2, level=0.04)
    random = np.random.default_rng(0)
    rate = random.beta(wrong + 0.5, answered - wrong + 0.5, (40_000, 3))
    drawn = random.binomial(later, rate)
    held = p_values(drawn, np.broadcast_to(later, drawn.shape), max_risk=0.2) <= 0.04
    assert chance == pytest.approx(held.mean(axis=0), abs=0.01)
    assert 0.3 < chance[1] < chance[0] < 1
    assert chance[2] == 0
