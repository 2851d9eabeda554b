"""The level of P(wrong) somewhere else, on answers whose true share of wrong ones is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard.calibrate.prior_shift import MOST, LabelledScores, shift_of
from energy_guard.energy import Bools, Floats
from energy_guard.errors import InputError

BASE = 0.4


def answers(n: int, share: float, seed: int = 0) -> tuple[Floats, Bools]:
    """P(wrong) where the share is `BASE`, of answers of which this share is wrong; label shift."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < share
    scores = rng.normal(np.where(wrong, 1.0, -1.0), 1.0)  # a log-likelihood ratio of 2 · score
    odds = 2 * scores + np.log(BASE / (1 - BASE))
    return 1 / (1 + np.exp(-odds)), wrong


def labels(p_wrong: Floats, wrong: Bools) -> LabelledScores:
    return LabelledScores(p_wrong, wrong, np.ones(len(wrong)))


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_where_only_the_share_differs_many_trusted_answers_find_it(share: float) -> None:
    p_wrong, wrong = answers(4000, share)
    found = shift_of(p_wrong, BASE, width=3.0, most=4000)
    assert found.share.low < wrong.mean() < found.share.high
    assert found.share.value == pytest.approx(wrong.mean(), abs=0.02)
    assert found.share.high - found.share.low < 0.06


@pytest.mark.parametrize(("share", "side"), [(0.1, -1), (0.8, 1)])
def test_the_shift_goes_to_the_side_of_the_truth(share: float, side: int) -> None:
    p_wrong, wrong = answers(400, share)
    found = shift_of(p_wrong, BASE)
    assert np.sign(found.log_odds) == side
    assert abs(found.share.value - wrong.mean()) < abs(found.before - wrong.mean())


def test_many_unlabelled_answers_count_no_more_than_a_few() -> None:
    p_wrong, _ = answers(100, 0.8)
    few, many = shift_of(p_wrong, BASE), shift_of(np.tile(p_wrong, 50), BASE)
    assert many.log_odds == pytest.approx(few.log_odds)
    assert (many.share.low, many.share.high) == pytest.approx((few.share.low, few.share.high))
    assert few.share.high - few.share.low > 0.2, "nobody has looked at any of them"


def test_thirty_labels_bring_the_level_nearer_where_the_assumption_fails() -> None:
    """The scores are those of before, and twice as many are wrong at every one of them."""
    rng = np.random.default_rng(1)
    p_wrong, _ = answers(1000, BASE)
    truth = 1 / (1 + np.exp(-(np.log(p_wrong / (1 - p_wrong)) + 2.0)))
    wrong = rng.random(1000) < truth
    alone = shift_of(p_wrong, BASE)
    told = shift_of(p_wrong, BASE, told=labels(p_wrong[:30], wrong[:30]))
    assert abs(told.share.value - wrong.mean()) < abs(alone.share.value - wrong.mean()) / 2
    assert told.share.low < wrong.mean() < told.share.high
    assert told.share.high - told.share.low < alone.share.high - alone.share.low


def test_which_scores_were_labelled_does_not_tilt_the_level() -> None:
    """Only the riskiest answers have labels, and these say what P(wrong) says of them."""
    p_wrong, wrong = answers(2000, BASE)
    risky = p_wrong > 0.7
    assert wrong[risky].mean() > 2 * BASE
    found = shift_of(p_wrong, BASE, told=labels(p_wrong[risky], wrong[risky]))
    assert found.share.value == pytest.approx(wrong.mean(), abs=0.03)


def test_a_label_with_twice_the_weight_counts_as_two() -> None:
    p_wrong, wrong = answers(200, 0.8)
    twice = LabelledScores(p_wrong[:20], wrong[:20], np.full(20, 2.0))
    doubled = labels(np.tile(p_wrong[:20], 2), np.tile(wrong[:20], 2))
    assert shift_of(p_wrong, BASE, told=twice).log_odds == pytest.approx(
        shift_of(p_wrong, BASE, told=doubled).log_odds
    )


def test_a_few_odd_answers_do_not_move_it_much() -> None:
    p_wrong, _ = answers(200, BASE)
    odd = np.concatenate([p_wrong, np.full(10, 0.999)])
    assert abs(shift_of(odd, BASE).log_odds - shift_of(p_wrong, BASE).log_odds) < 0.2


def test_scores_that_say_nothing_leave_the_level_where_it_was() -> None:
    found = shift_of(np.full(500, BASE), BASE)
    assert found.log_odds == pytest.approx(0.0, abs=1e-9)
    assert found.share.high - found.share.low > 0.3


@given(
    p_wrong=st.lists(st.floats(0.001, 0.999), min_size=1, max_size=40),
    base=st.floats(0.02, 0.98),
    most=st.sampled_from([MOST, 1000.0]),
)
def test_the_interval_holds_the_estimate_and_a_riskier_log_gives_a_higher_one(
    p_wrong: list[float], base: float, most: float
) -> None:
    values = np.array(p_wrong)
    found = shift_of(values, base, most=most)
    assert 0 < found.share.low <= found.share.value <= found.share.high < 1
    assert found.share.n == len(values) and found.before == pytest.approx(values.mean())
    riskier = shift_of(np.sqrt(values), base, most=most)
    assert riskier.log_odds >= found.log_odds - 1e-9


@pytest.mark.parametrize(
    ("p_wrong", "base"), [([], 0.5), ([0.0, 0.5], 0.5), ([1.0], 0.5), ([0.5], 0.0), ([np.nan], 0.5)]
)
def test_what_is_no_probability_is_refused(p_wrong: Any, base: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        shift_of(np.array(p_wrong, dtype=np.float64), base)
