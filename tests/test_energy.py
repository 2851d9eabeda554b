from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from one_row import reduce_row

from energy_guard.energy import Row, RowReducer
from energy_guard.errors import RowError
from energy_guard.trace import Step, Trace

UNMOVED = ("nll", "entropy", "margin", "spilled_energy")
CENTRED = ("centred_logit_energy", "centred_marginal_energy", "centred_spilled_energy")
INF = math.inf

LOGITS = st.floats(-50, 50)
CONSTANTS = st.floats(-1000, 1000)


def rows_of(minimum: int = 1) -> st.SearchStrategy[np.ndarray]:
    """T + 1 rows over a vocabulary of four; token t of the answer is t mod 4."""
    return st.lists(st.lists(LOGITS, min_size=4, max_size=4), min_size=minimum + 1, max_size=6).map(
        np.array
    )


def trace_of(rows: np.ndarray, beta: float = 1.0) -> Trace:
    reducer = RowReducer(rows.shape[1], rows.dtype, beta)
    steps = [
        Step(t % 4, b"x", reducer.token_logit(row, t % 4), reducer.reduce(row))
        for t, row in enumerate(rows[:-1])
    ]
    return Trace.from_steps(steps, reducer.reduce(rows[-1]))


def raw(trace: Trace) -> Trace:
    """Rows that happen to be log-probabilities have no energies: another test is about those."""
    assume(not trace.normalised)
    return trace


def by_definition(row: Any) -> Row:
    """Every number from its definition, in the order of the definition, without shared code."""
    finite = [float(value) for value in row if value != -INF]
    top = max(finite)
    log_partition = top + math.log(math.fsum(math.exp(value - top) for value in finite))
    log_p = [value - log_partition for value in finite]
    first, second = sorted(row, reverse=True)[:2]
    return Row(
        log_partition,
        math.fsum(finite) / len(finite),
        -math.fsum(math.exp(value) * value for value in log_p),
        float(first) - float(second),
    )


@given(st.lists(LOGITS, min_size=2, max_size=60))
def test_a_row_is_reduced_as_defined(values: list[float]) -> None:
    row = np.array(values)
    assert reduce_row(row) == pytest.approx(by_definition(row), rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("offset", [-40.0, 3.0, 20.0])
@pytest.mark.parametrize("spread", [0.01, 3.0, 12.0])
def test_float32_is_within_1e_5_of_float64(offset: float, spread: float) -> None:
    draws = np.random.default_rng(5).normal(offset, spread, 50_000)
    row = draws.astype(np.float32)
    single, double = reduce_row(row), reduce_row(row.astype(np.float64))
    assert double == pytest.approx(by_definition(row), rel=1e-9, abs=1e-9)
    assert single == pytest.approx(double, rel=1e-5, abs=1e-5)


@given(rows_of(), CONSTANTS)
def test_one_constant_on_every_row_moves_only_the_energies(rows: np.ndarray, c: float) -> None:
    before, after = raw(trace_of(rows)), raw(trace_of(rows + c))
    for name in (*UNMOVED, *CENTRED):
        np.testing.assert_allclose(
            getattr(after, name), getattr(before, name), rtol=0, atol=1e-9, err_msg=name
        )
    np.testing.assert_allclose(after.marginal_energy, before.marginal_energy - c, atol=1e-9)
    np.testing.assert_allclose(after.logit_energy, before.logit_energy - c, atol=1e-9)


@given(rows_of(), st.lists(CONSTANTS, min_size=6, max_size=6))
def test_a_constant_of_its_own_on_each_row_moves_spilled_energy_but_not_nll(
    rows: np.ndarray, constants: list[float]
) -> None:
    c = np.array(constants[: len(rows)])
    before, after = raw(trace_of(rows)), raw(trace_of(rows + c[:, None]))
    for name in ("nll", "entropy", "margin", *CENTRED):
        np.testing.assert_allclose(
            getattr(after, name), getattr(before, name), rtol=0, atol=1e-9, err_msg=name
        )
    np.testing.assert_allclose(
        after.spilled_energy, before.spilled_energy + c[1:] - c[:-1], atol=1e-9
    )


@given(st.lists(LOGITS, min_size=2, max_size=20))
def test_no_token_logit_is_above_the_log_partition(values: list[float]) -> None:
    row = np.array(values)
    reduced = reduce_row(row)
    assert row.max() <= reduced.log_partition <= row.max() + math.log(row.size) + 1e-12
    assert 0 <= reduced.entropy <= math.log(row.size) + 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("values", [[1000, 1000], [-1000, -1000], [1000, -1000]])
def test_large_logits_stay_finite(values: list[float], dtype: type) -> None:
    row = np.array(values, dtype)
    assert reduce_row(row) == pytest.approx(by_definition(row), rel=1e-6)


@settings(max_examples=50)
@given(st.lists(LOGITS, min_size=2, max_size=10), st.integers(1, 5), st.sampled_from([0.5, 1, 2]))
def test_minus_infinity_is_zero_mass(values: list[float], masked: int, beta: float) -> None:
    row, kept = np.array([*values, *[-INF] * masked]), np.array(values)
    assert reduce_row(row, beta) == pytest.approx(reduce_row(kept, beta), rel=1e-12, abs=1e-12)


def test_minus_infinity_in_float32() -> None:
    row = np.array([2.0, -INF, 1.0], np.float32)
    assert reduce_row(row) == pytest.approx(by_definition(row), rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, INF])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_nan_and_infinity_are_refused_wherever_they_are(bad: float, at: int) -> None:
    row = np.array([1.0, 2.0, -INF], np.float32)
    row[at] = bad
    with pytest.raises(RowError, match=str(bad)):
        reduce_row(row)


def test_a_row_without_mass_is_refused() -> None:
    with pytest.raises(RowError, match="no mass"):
        reduce_row(np.full(3, -INF))


def test_a_row_without_entries_is_refused() -> None:
    with pytest.raises(RowError, match="no entries"):
        reduce_row(np.array([]))


@pytest.mark.parametrize("bad", [-INF, INF, math.nan])
def test_a_chosen_token_without_a_finite_logit_is_refused(bad: float) -> None:
    with pytest.raises(RowError, match="token 1"):
        RowReducer(3).token_logit(np.array([0.0, bad, 1.0], np.float32), 1)


@given(st.lists(LOGITS, min_size=2, max_size=20), st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_an_inverse_temperature_multiplies_the_row(values: list[float], beta: float) -> None:
    row = np.array(values)  # powers of two multiply without rounding
    scaled = RowReducer(row.size, row.dtype, beta)
    assert scaled.reduce(row) == pytest.approx(reduce_row(beta * row), rel=1e-12, abs=1e-12)
    assert scaled.token_logit(row, 1) == beta * row[1]


def test_rows_do_not_leak_into_the_next() -> None:
    reducer = RowReducer(3)
    row = np.array([3.0, 1.0, -2.0], np.float32)
    first = reducer.reduce(row)
    reducer.reduce(np.array([-900.0, 900.0, 5.0], np.float32))
    with pytest.raises(RowError):
        reducer.reduce(np.array([math.nan, 1.0, 2.0], np.float32))
    assert reducer.reduce(row) == first


def test_the_row_itself_is_left_alone() -> None:
    row = np.array([3.0, 1.0, -2.0], np.float32)
    row.flags.writeable = False
    reduce_row(row, 2.0)
    assert row.tolist() == [3.0, 1.0, -2.0]


def test_an_entry_that_overflows_once_it_is_scaled_has_no_mass() -> None:
    row = np.array([0.0, 0.0, np.finfo(np.float32).min * 0.9], np.float32)
    reduced = RowReducer(3, inverse_temperature=2.0).reduce(row)
    assert reduced.entropy == pytest.approx(np.log(2))
    assert reduced.log_partition == pytest.approx(np.log(2))


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_a_row_of_several_blocks_is_reduced_like_one(beta: float) -> None:
    rng = np.random.default_rng(0)
    row = (5 * rng.standard_normal(150_001)).astype(np.float32)
    row[rng.integers(0, row.size, 70_000)] = -np.inf
    exact = beta * row.astype(np.float64)
    partition = np.log(np.exp(exact - exact.max()).sum()) + exact.max()
    p, finite = np.exp(exact - partition), np.isfinite(exact)
    reduced = RowReducer(row.size, inverse_temperature=beta).reduce(row)
    assert reduced.log_partition == pytest.approx(partition, abs=1e-6)
    assert reduced.mean == pytest.approx(exact[finite].mean(), abs=1e-5)
    assert reduced.entropy == pytest.approx(partition - (p[finite] * exact[finite]).sum(), abs=1e-5)
    assert reduced.margin == pytest.approx(np.diff(np.sort(exact)[-2:])[0], abs=1e-6)
