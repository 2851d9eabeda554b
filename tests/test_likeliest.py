from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard.likeliest import as_arrays, likeliest

ROWS = st.lists(st.sampled_from([-np.inf, -2.0, 0.0, 0.5, 3.0]), min_size=1, max_size=12)


@given(row=ROWS, count=st.integers(0, 15))
def test_the_largest_come_first_and_of_equal_ones_the_smaller_id(
    row: list[float], count: int
) -> None:
    ordered = sorted(enumerate(row), key=lambda pair: (-pair[1], pair[0]))
    assert likeliest(np.array(row, np.float32), count) == tuple(ordered[:count])


def test_logits_are_multiplied_as_their_row_is() -> None:
    assert likeliest(np.array([1.0, 3.0]), 1, 0.5) == ((1, 1.5),)


def test_a_place_without_any_leaves_no_arrays() -> None:
    assert as_arrays([((1, 2.0),), ()]) == {}
    assert as_arrays([]) == {}
    arrays = as_arrays([((1, 2.0), (0, 1.0)), ((0, 4.0), (1, 3.0))])
    assert arrays["likeliest_ids"].tolist() == [[1, 0], [0, 1]]
    assert arrays["likeliest_logits"].dtype == np.float64


def test_no_alternatives_below_none() -> None:
    from energy_guard import Request
    from energy_guard.errors import InputError

    with pytest.raises(InputError, match="alternatives"):
        Request.chat("?", alternatives=-1)
