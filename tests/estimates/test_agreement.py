"""Agreement of two people, held against numbers that were worked out by hand."""

from __future__ import annotations

import pytest

from energy_guard.estimates.agreement import agreement, wilson
from energy_guard.estimates.estimate import Estimate, NotDefined


def test_kappa_takes_off_what_chance_would_give() -> None:
    # 20 both yes, 15 both no, 5 and 10 apart: 0.7 observed, 0.5 by chance (Cohen's textbook case).
    first = ["y"] * 20 + ["y"] * 5 + ["n"] * 10 + ["n"] * 15
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    found = agreement(first, second)
    assert isinstance(found.share, Estimate)
    assert (found.share.value, found.share.n) == (0.7, 50)
    assert found.kappa == pytest.approx(0.4)


def test_one_class_has_no_kappa_and_says_why() -> None:
    found = agreement(["right"] * 5, ["right"] * 5)
    assert found.kappa == NotDefined("both say the same of every answer", 5)
    assert isinstance(found.share, Estimate)


def test_wilsons_interval_is_the_textbook_one_and_nothing_has_none() -> None:
    found = wilson(8, 10)
    assert isinstance(found, Estimate)
    assert (found.low, found.high) == (
        pytest.approx(0.4902, abs=1e-4),
        pytest.approx(0.9433, abs=1e-4),
    )
    assert isinstance(wilson(0, 0), NotDefined)
