"""Rows are reduced by NumPy on the processor and by PyTorch elsewhere: the same numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from energy_guard.backends.transformers.reduce import RowsReducer, checked, rows_of
from energy_guard.errors import RowError

torch.set_num_threads(1)

LOGITS = st.one_of(st.floats(-80, 80, width=32), st.just(-math.inf))


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.integers(1, 3)), draw(st.sampled_from([2, 5, 130]))
    rows = draw(arrays(np.float32, shape, elements=LOGITS))
    rows[:, -1] = 1.0  # some mass
    return rows


@given(tables())
def test_both_ways_give_the_same_numbers(table: np.ndarray) -> None:
    rows, tokens = torch.from_numpy(table), torch.from_numpy(table.argmax(-1))
    here, here_logits = RowsReducer().rows_of(rows, tokens)
    there, there_logits = rows_of(rows, tokens)
    largest = float(np.abs(table[np.isfinite(table)]).max())  # sums of float32 are as exact as it
    np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-6 * max(20.0, largest))
    assert here_logits == there_logits == table.max(-1).tolist()


def test_numbers_do_not_depend_on_what_was_reduced_before() -> None:
    reducer, numbers = RowsReducer(), torch.Generator().manual_seed(0)
    for shape in ((3, 200), (1, 200), (1, 300), (3, 200)):
        rows = torch.randn(shape, generator=numbers)
        assert reducer.rows_of(rows) == RowsReducer().rows_of(rows)


@pytest.mark.parametrize("reduce", [RowsReducer().rows_of, rows_of], ids=["here", "elsewhere"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_broken_is_refused_and_what_is_beside_it_is_not(reduce: object, bad: float) -> None:
    rows = torch.zeros(4, 200)
    rows[1, 7], rows[2, 9], rows[3] = bad, -math.inf, -math.inf
    (whole, broken, thin, empty), _ = reduce(rows)  # type: ignore[operator]
    assert checked(whole).log_partition == pytest.approx(math.log(200))
    assert checked(thin).entropy == pytest.approx(math.log(199))
    for row in (broken, empty):
        with pytest.raises(RowError):
            checked(row)
