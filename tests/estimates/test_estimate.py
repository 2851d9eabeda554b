from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.stats import binomtest

from energy_guard.errors import MissingExtraError
from energy_guard.estimates.estimate import Estimate, NotDefined, clopper_pearson, proportion
from energy_guard.extras import needs_extra


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_interval_is_that_of_the_exact_binomial_test(confidence: float) -> None:
    for n in (1, 2, 7, 100, 3000):
        for count in sorted({0, 1, n // 3, n - 1, n} & set(range(n + 1))):
            made = proportion(count, n, confidence=confidence)
            expected = binomtest(count, n).proportion_ci(confidence, "exact")
            assert isinstance(made, Estimate)
            assert (made.value, made.n, made.confidence) == (count / n, n, confidence)
            assert (made.low, made.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_many_intervals_at_once_are_the_same_as_one_by_one() -> None:
    counts, n = np.array([0, 3, 10, 9]), np.array([5, 10, 10, 400])
    low, high = clopper_pearson(counts, n)
    for count, rows, *ends in zip(counts, n, low, high, strict=True):
        one = proportion(int(count), int(rows))
        assert isinstance(one, Estimate)
        assert ends == [one.low, one.high]


def test_of_nothing_there_is_no_share() -> None:
    assert isinstance(proportion(0, 0), NotDefined)


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "scipy"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"scipy.*\n.*energy-guard\[eval\]"):
        proportion(1, 2)


def test_another_failure_of_an_import_is_not_called_missing() -> None:
    with pytest.raises(ImportError, match="broken"), needs_extra("eval"):
        raise ImportError("broken")
