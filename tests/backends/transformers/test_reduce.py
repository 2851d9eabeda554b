"""Rows reduced in PyTorch are the rows reduced in NumPy: one definition, two engines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from one_row import reduce_row

from energy_guard.backends.transformers.reduce import check_logit, checked, rows_of
from energy_guard.energy import Row, RowReducer
from energy_guard.errors import RowError

torch.set_num_threads(1)
INF = math.inf
CLOSE = 1e-5

LOGITS = st.floats(-1000, 1000, width=32)
MASKED = st.one_of(LOGITS, st.just(-INF))


def tables(entries: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    """One to four rows over a vocabulary of one to forty; no row without any mass."""

    def of_width(width: int) -> st.SearchStrategy[np.ndarray]:
        row = st.lists(entries, min_size=width, max_size=width).filter(lambda r: max(r) > -INF)
        return st.lists(row, min_size=1, max_size=4).map(lambda r: np.array(r, np.float32))

    return st.integers(1, 40).flatmap(of_width)


def reduced(table: np.ndarray) -> list[Row]:
    rows, _ = rows_of(torch.from_numpy(table.copy()))
    return [checked(row) for row in rows]


def assert_rows(mine: list[Row], theirs: list[Row], size: float = 1.0) -> None:
    for ours, other in zip(mine, theirs, strict=True):
        assert tuple(ours) == pytest.approx(tuple(other), rel=CLOSE, abs=CLOSE * size)


@given(tables(MASKED))
def test_the_numbers_are_those_of_the_other_reducer(table: np.ndarray) -> None:
    size = float(np.abs(table[np.isfinite(table)]).max(initial=1.0))
    assert_rows(reduced(table), [RowReducer(table.shape[1]).reduce(row) for row in table], size)


@given(tables(st.one_of(st.floats(-30, 30, width=32), st.just(-INF))))
def test_the_numbers_are_those_of_float64(table: np.ndarray) -> None:
    assert_rows(reduced(table), [reduce_row(row.astype(np.float64)) for row in table])


@given(tables(st.integers(-60, 60).map(lambda n: n / 4)), st.integers(-2000, 2000))
def test_a_constant_moves_the_partition_and_the_mean_alone(table: np.ndarray, c: int) -> None:
    """Quarters and whole constants: float32 adds them exactly, so the shifted row is the same."""
    for before, after in zip(reduced(table), reduced(table + np.float32(c)), strict=True):
        moved = Row(before.log_partition + c, before.mean + c, before.entropy, before.margin)
        assert tuple(after) == pytest.approx(tuple(moved), rel=CLOSE, abs=CLOSE)


@given(tables(MASKED), st.data())
def test_the_logits_of_the_chosen_tokens_are_those_of_their_rows(
    table: np.ndarray, data: Any
) -> None:
    count, width = table.shape
    tokens = data.draw(st.lists(st.integers(0, width - 1), min_size=count, max_size=count))
    rows = torch.from_numpy(table.copy())
    _, logits = rows_of(rows, torch.tensor(tokens))
    assert logits == [float(table[i, token]) for i, token in enumerate(tokens)]
    assert np.array_equal(rows.numpy(), table), "the rows are left as they are"


@given(tables(MASKED))
def test_a_row_is_the_same_alone_and_among_others(table: np.ndarray) -> None:
    size = float(np.abs(table[np.isfinite(table)]).max(initial=1.0))
    alone = [reduced(row[None])[0] for row in table]
    assert_rows(reduced(table), alone, size)


def test_a_vocabulary_of_one_and_of_two() -> None:
    assert reduced(np.array([[3.5]], np.float32)) == [Row(3.5, 3.5, 0.0, INF)]
    assert reduce_row(np.array([3.5], np.float32)) == Row(3.5, 3.5, 0.0, INF)
    (two,) = reduced(np.array([[1.0, 1.0]], np.float32))
    assert tuple(two) == pytest.approx((1 + math.log(2), 1.0, math.log(2), 0.0))
    (masked,) = reduced(np.array([[1.0, -INF]], np.float32))
    assert masked == Row(1.0, 1.0, 0.0, INF)


@pytest.mark.parametrize("row", [[1000.0, -1000.0], [-1000.0, -1000.0], [1000.0, 999.0, -INF]])
def test_logits_far_from_zero_stay_finite(row: list[float]) -> None:
    table = np.array([row], np.float32)
    assert_rows(reduced(table), [reduce_row(table[0].astype(np.float64))])


@pytest.mark.parametrize("width", [1, 2, 50])
@pytest.mark.parametrize("bad", [math.nan, INF, -INF])
def test_broken_rows_are_refused_by_both(bad: float, width: int) -> None:
    good = np.linspace(-2, 2, width, dtype=np.float32)
    broken = good.copy()
    broken[: 1 if bad != -INF else None] = bad
    with pytest.raises(RowError):
        reduce_row(broken)
    rows, _ = rows_of(torch.from_numpy(np.stack([good, broken, good])))
    with pytest.raises(RowError):
        checked(rows[1])
    assert_rows([checked(rows[0]), checked(rows[2])], [reduce_row(good)] * 2)


@pytest.mark.parametrize("bad", [math.nan, INF])
def test_broken_rows_with_entries_without_mass(bad: float) -> None:
    rows, _ = rows_of(torch.tensor([[1.0, -INF, bad], [1.0, -INF, 2.0]]))
    with pytest.raises(RowError):
        checked(rows[0])
    assert checked(rows[1]).mean == 1.5


@pytest.mark.parametrize("bad", [math.nan, INF, -INF])
def test_a_chosen_token_without_mass_is_refused(bad: float) -> None:
    check_logit(1.0, 7)
    with pytest.raises(RowError, match="token 7"):
        check_logit(bad, 7)


@pytest.mark.parametrize("offset", [-40.0, 3.0, 200.0])
def test_a_large_vocabulary_is_summed_as_exactly(offset: float) -> None:
    table = np.random.default_rng(3).normal(offset, 4.0, (2, 262_144)).astype(np.float32)
    assert_rows(reduced(table), [reduce_row(row.astype(np.float64)) for row in table])
