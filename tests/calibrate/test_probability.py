from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from energy_guard.calibrate.probability import fit_calibration
from energy_guard.calibrate.split import split_of
from energy_guard.errors import ConfigError, InputError
from energy_guard.profile import Calibration


def drawn(n: int, slope: float, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    scores = random.normal(3.0, 2.0, n)
    return scores, random.random(n) < 1 / (1 + np.exp(-slope * (scores - 3)))


def platt_loss(parameters: Any, scores: Any, wrong: Any) -> float:
    """Platt's smoothed log-loss, written down again."""
    odds = parameters[0] * scores + parameters[1]
    bad, good = wrong.sum(), (~wrong).sum()
    target = np.where(wrong, (bad + 1) / (bad + 2), 1 / (good + 2))
    return float(np.sum(np.logaddexp(0, odds) - target * odds))


@pytest.mark.parametrize("n", [10, 60, 3000])
@pytest.mark.parametrize("unit", [1.0, 1e-4, 1e5])
def test_platt_minimises_its_loss_in_any_unit(n: int, unit: float) -> None:
    scores, wrong = drawn(n, 1.0)
    made = fit_calibration(scores * unit, wrong)
    assert made.slope is not None
    best = minimize(platt_loss, [0.0, 0.0], (scores, wrong), "Nelder-Mead", tol=1e-10)
    assert [made.slope * unit, made.intercept] == pytest.approx(best.x, rel=1e-3, abs=1e-3)


def test_a_known_curve_is_found_again() -> None:
    scores, wrong = drawn(20_000, 0.8)
    made = fit_calibration(scores, wrong)
    assert made.slope is not None and made.intercept is not None
    assert (made.slope, -made.intercept / made.slope) == pytest.approx((0.8, 3.0), abs=0.05)
    assert (made.n, made.n_wrong, made.note) == (20_000, int(wrong.sum()), "")


@pytest.mark.parametrize(
    "scores",
    [np.full(40, 2.5), -np.arange(40.0), np.full(40, 1e-300)],
    ids=["constant", "the wrong way round", "constant and tiny"],
)
def test_a_score_that_tells_nothing_gives_the_base_rate(scores: Any) -> None:
    wrong = np.arange(40) >= 30
    made = fit_calibration(scores, wrong)
    assert made.slope == 0
    assert "base rate" in made.note
    assert made.p_wrong(float(scores[0])) == pytest.approx(0.25)


def test_separated_answers_give_no_endless_slope() -> None:
    scores = np.arange(20.0)
    made = fit_calibration(scores, scores >= 10)
    p = [made.p_wrong(score) for score in scores.tolist()]
    assert p[0] == pytest.approx(1 / 22)
    assert p[-1] == pytest.approx(21 / 22)
    assert made.slope is not None and made.slope < 5
    assert "rough" in made.note


def test_two_answers_are_enough_to_fit_but_not_to_be_sure() -> None:
    made = fit_calibration([0.0, 1.0], [False, True])
    assert (made.p_wrong(0.0), made.p_wrong(1.0)) == pytest.approx((1 / 3, 2 / 3))


@pytest.mark.parametrize(
    ("scores", "wrong", "named"),
    [
        ([1.0, 2.0], [True, True], "all 2 answers are wrong"),
        ([1.0, 2.0], [False, False], "all 2 answers are right"),
        ([], [], "no answers"),
        ([1.0, math.nan], [True, False], "1 of 2 scores"),
        ([1.0, math.inf], [True, False], "1 of 2 scores"),
        ([1.0, 2.0, 3.0], [True, False], "3 scores and 2 labels"),
    ],
)
def test_rows_that_cannot_be_fitted_are_refused(
    scores: list[float], wrong: list[bool], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        fit_calibration(scores, wrong)


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(-5, 5).map(float), st.booleans(), st.integers(1, 30)),
        min_size=2,
        max_size=40,
    ).filter(lambda rows: len({wrong for _, wrong, _ in rows}) == 2)
)
def test_p_wrong_grows_with_the_score_within_what_its_data_allow(
    rows: list[tuple[float, bool, int]],
) -> None:
    scores, wrong, lengths = (list(column) for column in zip(*rows, strict=True))
    made = fit_calibration(scores, wrong, lengths=lengths)
    p = [made.p_wrong(score, lengths[0]) for score in sorted(scores)]
    known = [value for value in p if value is not None]
    assert known == sorted(known)
    assert len(known) == len(p)
    assert 1 / (len(rows) + 2) <= known[0] <= known[-1] <= 1 - 1 / (len(rows) + 2)
    assert made.p_wrong(max(scores) + 1e-9) is None
    assert made.p_wrong(scores[0], max(lengths) + 1) is None
    assert Calibration(**json.loads(made.model_dump_json())) == made


def test_a_reason_is_given_where_there_is_no_probability() -> None:
    made = fit_calibration([0.0, 1.0, 2.0, 3.0], [False, True, False, True], lengths=[2, 3, 4, 9])
    assert made.why_not(1.0, 5) is None
    assert "riskier than any that the profile was made from" in str(made.why_not(3.5, 5))
    assert "safer than any that the profile was made from" in str(made.why_not(-0.5, 5))
    assert "length in tokens is 10" in str(made.why_not(1.0, 10))
    assert made.why_not(1.0, 1) == (
        "the answer's length in tokens is 1, and those that the profile was made from have 2 to 9"
    )


def test_between_knots_p_wrong_is_that_of_isotonic_regression() -> None:
    scores, wrong = drawn(2000, 0.8)
    fit = IsotonicRegression(y_min=0, y_max=1).fit(scores, wrong.astype(float))
    knots = zip(fit.X_thresholds_.tolist(), fit.y_thresholds_.tolist(), strict=True)
    made = Calibration(
        knots=tuple(knots),
        n=2000,
        n_wrong=int(wrong.sum()),
        lowest=float(scores.min()),
        highest=float(scores.max()),
    )
    at = np.linspace(scores.min(), scores.max(), 101)
    expected = np.clip(fit.predict(at), 1 / 2002, 1 - 1 / 2002)
    assert [made.p_wrong(score) for score in at.tolist()] == pytest.approx(expected)
    assert Calibration(**json.loads(made.model_dump_json())) == made


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"knots": ((1, 0.2), (0, 0.4))}, "grow"),
        ({"knots": ((0, 0.2), (0, 0.4))}, "grow"),
        ({"knots": ((0, 0.4), (1, 0.2))}, "grow"),
        ({"knots": ((0, 0.2), (1, 1.2))}, "between 0 and 1"),
        ({"knots": ((0, 0.2), (1, 0.4)), "slope": 1, "intercept": 0}, "instead"),
        ({"slope": 1}, "slope and intercept"),
        ({}, "slope and intercept"),
    ],
)
def test_a_calibration_is_one_thing_or_the_other(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Calibration(n=10, n_wrong=5, lowest=0, highest=1, **values)


# The three splits.


def test_the_splits_are_what_they_were() -> None:
    """Other splits after an update would let certified rows into the fit."""
    questions = [f"What is {number} times {number}?" for number in range(12)]
    assert [split_of(question)[:3] for question in questions] == [
        "fit", "fit", "cer", "cer", "fit", "cer", "fit", "fit", "cer", "cal", "cer", "fit",
    ]  # fmt: skip


def test_the_splits_have_their_shares() -> None:
    found = [split_of(f"question {number}") for number in range(20_000)]
    shares = [found.count(name) / 20_000 for name in ("fit", "calibrate", "certify")]
    assert shares == pytest.approx([0.4, 0.2, 0.4], abs=0.015)


def test_one_question_is_in_one_split_however_it_is_written() -> None:
    for number in range(50):
        question = f"Who wrote the Café book {number}?"
        same = {
            split_of(question),
            split_of(f"  {question.upper()} "),
            split_of(question.replace(" ", "\n")),
            split_of(question.replace("é", "e\u0301")),
            split_of(question, ""),
        }
        assert len(same) == 1


def test_the_same_question_about_other_passages_is_another_one() -> None:
    found = {split_of("Who is it about?", f"passage {number}") for number in range(50)}
    assert found == {"fit", "calibrate", "certify"}


@given(st.text(), st.text() | st.none())
def test_any_text_has_a_split(question: str, context: str | None) -> None:
    assert split_of(question, context) in ("fit", "calibrate", "certify")


def test_a_curve_is_moved_by_log_odds_at_every_score() -> None:
    """Both kinds of curve; what was certain stays certain."""
    ends: dict[str, Any] = {"n": 998, "n_wrong": 500, "lowest": 0, "highest": 4}
    knots = Calibration(knots=((0.0, 0.0), (1.0, 0.2), (2.0, 0.5), (4.0, 1.0)), **ends)
    straight = Calibration(slope=1, intercept=-2, **ends)
    for score in (1.0, 2.0):
        for curve in (knots, straight):
            p, moved = curve.p_wrong(score), curve.shifted(0.7).p_wrong(score)
            assert p is not None and moved is not None
            assert math.log(moved / (1 - moved)) == pytest.approx(math.log(p / (1 - p)) + 0.7)
            p_flat = curve.flattened(0.7).p_wrong(score)
            assert p_flat is not None
            assert math.log(p_flat / (1 - p_flat)) == pytest.approx(math.log(p / (1 - p)) * 0.7)
    assert knots.flattened(0.7).p_wrong(0.0) == 1 / 1000
    assert knots.shifted(0.7).p_wrong(0.0) == knots.p_wrong(0.0) == 1 / 1000
    assert straight.shifted(0.7).shifted(-0.7).p_wrong(1.0) == pytest.approx(straight.p_wrong(1.0))
