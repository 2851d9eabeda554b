from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from one_row import reduce_row

from energy_guard.energy import NORMALISED_TOLERANCE, Row
from energy_guard.errors import ConfigError, InputError, NormalisedRowsError
from energy_guard.trace import SIGNALS, FinishReason, Step, Trace

AFTER = (
    "marginal_energy",
    "spilled_energy",
    "scaled_spilled_energy",
    "centred_marginal_energy",
    "centred_spilled_energy",
)
"""Signals that need the row after the token."""

PIECES = st.sampled_from([b"a", b" b", b"", "中".encode(), b"\xf0\x9f", b"\x98\x80", b"\xff", b'"'])
ROWS = st.lists(
    st.lists(st.floats(-40, 40), min_size=3, max_size=3).filter(lambda row: max(row) > 1),
    min_size=1,
    max_size=8,
).map(np.array)
"""T + 1 rows of raw logits over a vocabulary of three."""


def trace_of(rows: Any, last: bool = True, pieces: list[bytes] | None = None) -> Trace:
    """The first T of T + 1 rows choose the tokens 0, 1, 2, 0, …"""
    reduced = [reduce_row(np.asarray(row, dtype=np.float64)) for row in rows]
    count = len(reduced) - 1
    steps = [
        Step(t % 3, pieces[t] if pieces else b"x", float(rows[t][t % 3]), reduced[t])
        for t in range(count)
    ]
    return Trace.from_steps(steps, reduced[-1] if last else None)


def raw(trace: Trace) -> Trace:
    """Rows that happen to be log-probabilities have no energies: another test is about those."""
    assume(not trace.normalised)
    return trace


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    rows = draw(ROWS)
    count = len(rows) - 1
    pieces = draw(st.lists(PIECES, min_size=count, max_size=count))
    return replace(
        trace_of(rows, draw(st.booleans()), pieces),
        content_bytes=draw(st.integers(0, len(b"".join(pieces)))),
        finish_reason=draw(st.sampled_from(get_args(FinishReason))),
        prompt_tokens=draw(st.integers(0, 99)),
        inverse_temperature=draw(st.sampled_from([1.0, 0.1])),
        extras={"one": np.arange(count), "many": draw(st.floats(-1, 1)) * np.ones((count, 2))}
        if count
        else {},
    )


def assert_same(left: Trace, right: Trace) -> None:
    for field in dataclasses.fields(Trace):
        mine, other = getattr(left, field.name), getattr(right, field.name)
        if field.name == "extras":
            assert mine.keys() == other.keys()
            for name, values in mine.items():
                np.testing.assert_array_equal(values, other[name], err_msg=name, strict=True)
        elif isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(mine, other, err_msg=field.name, strict=True)
        else:
            assert mine == other, field.name


@given(ROWS)
def test_signals_follow_their_definitions(rows: np.ndarray) -> None:
    trace = raw(trace_of(rows))
    for t in range(len(trace)):
        chosen, log_z, after = rows[t][t % 3], trace.log_partition[t], trace.log_partition[t + 1]
        mean, mean_after = rows[t].mean(), rows[t + 1].mean()
        centred = -(chosen - mean), -(after - mean_after)
        expected = {
            "token_logit": chosen,
            "logit_energy": -chosen,
            "marginal_energy": -after,
            "spilled_energy": after - chosen,
            "scaled_spilled_energy": abs(after) * (after - chosen),
            "centred_logit_energy": centred[0],
            "centred_marginal_energy": centred[1],
            "centred_spilled_energy": centred[0] - centred[1],
            "nll": log_z - chosen,
            "entropy": trace.entropy[t],
            "margin": np.ptp(np.sort(rows[t])[-2:]),
        }
        found = {name: trace.signal(name)[t] for name in SIGNALS}
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(ROWS)
def test_spilled_energy_is_nll_and_the_change_of_log_partition(rows: np.ndarray) -> None:
    trace = raw(trace_of(rows))
    change = trace.log_partition[1:] - trace.log_partition[:-1]
    np.testing.assert_allclose(trace.spilled_energy, trace.nll + change, atol=1e-9)


@given(ROWS, st.data())
def test_spilled_energy_telescopes_over_any_span(rows: np.ndarray, data: st.DataObject) -> None:
    trace = raw(trace_of(rows))
    start = data.draw(st.integers(0, len(trace)))
    end = data.draw(st.integers(start, len(trace)))
    expected = trace.nll[start:end].sum() + trace.log_partition[end] - trace.log_partition[start]
    assert trace.spilled_energy[start:end].sum() == pytest.approx(expected, abs=1e-9)


@given(ROWS.filter(lambda rows: len(rows) > 1))
def test_without_the_last_row_exactly_the_last_value_is_missing(rows: np.ndarray) -> None:
    whole, cut = raw(trace_of(rows)), raw(trace_of(rows, last=False))
    assert len(whole.log_partition) == len(whole.row_mean) == len(whole) + 1
    assert len(cut.log_partition) == len(cut.row_mean) == len(cut)
    for name in SIGNALS:
        expected = whole.signal(name).copy()
        if name in AFTER:
            expected[-1] = math.nan
        np.testing.assert_array_equal(cut.signal(name), expected, err_msg=name)
    assert [name for name in SIGNALS if cut.tokens()[-1][name] is None] == [
        name for name in SIGNALS if name in AFTER
    ]


@given(traces())
def test_json_out_and_in_is_the_same_trace(trace: Trace) -> None:
    assert_same(Trace.from_json(trace.to_json()), trace)


def test_missing_numbers_survive_json() -> None:
    trace = replace(trace_of([[1, 2, 3]] * 3), entropy=np.array([math.nan, 0.5]))
    assert json.loads(trace.to_json())["entropy"] == [None, 0.5]
    assert_same(Trace.from_json(trace.to_json()), trace)


def test_a_missing_number_in_an_extra_survives_json() -> None:
    trace = replace(trace_of([[1, 2, 3]] * 3), extras={"probe": np.array([math.nan, 0.5])})
    assert_same(Trace.from_json(trace.to_json()), trace)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '"x"',
        "NaN",
        "{}",
        '{"schema": 1}',
        '{"schema": 2}',
        "[" * 50_000,
    ],
    ids=lambda text: text[:16],
)
def test_what_is_no_trace_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Trace.from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 99},
        {"ids": 5},
        {"ids": [0]},
        {"ids": [0, 2**70]},
        {"ids": [[0], [1]]},
        {"pieces": 5},
        {"pieces": ["a"]},
        {"pieces": ["a", 5]},
        {"pieces": ["a", {"hex": "zz"}]},
        {"pieces": ["a", "\ud800"]},
        {"token_logit": 5},
        {"token_logit": [1.0]},
        {"token_logit": [[1.0], [2.0]]},
        {"entropy": ["a", "b"]},
        {"log_partition": [1.0]},
        {"log_partition": [1.0, 2.0]},  # row_mean has three
        {"content_bytes": None},
        {"content_bytes": math.inf},
        {"finish_reason": "tired"},
        {"extras": None},
        {"extras": []},
        {"extras": {"probe": [[1, 2], [3]]}},
    ],
    ids=str,
)
def test_a_damaged_trace_is_refused(change: dict[str, Any]) -> None:
    good = json.loads(trace_of([[1, 2, 3]] * 3).to_json())
    with pytest.raises(InputError):
        Trace.from_json(json.dumps(good | change))


def log_softmaxed(rows: Any) -> np.ndarray:
    raw = np.array(rows, dtype=np.float64)
    return raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))


def test_log_probabilities_give_nll_but_no_energies() -> None:
    raw = [[1.0, 2.0, 3.0], [4.0, 0.0, 1.0], [0.0, 0.0, 9.0]]
    trace = trace_of(log_softmaxed(raw))
    assert trace.normalised
    energies = set(SIGNALS) - {"nll", "entropy", "margin"}
    for name in sorted(energies):
        with pytest.raises(NormalisedRowsError, match="nll"):
            trace.signal(name)
    np.testing.assert_allclose(trace.signal("nll"), trace_of(raw).nll)
    for token in trace.tokens():
        assert {name for name in SIGNALS if token[name] is None} == energies


@pytest.mark.parametrize("constant", [2 * NORMALISED_TOLERANCE, -0.01])
def test_rows_near_log_probabilities_are_accepted(constant: float) -> None:
    near = log_softmaxed([[1, 2, 3]] * 3) + constant
    assert np.all(np.isfinite(trace_of(near).signal("spilled_energy")))


def test_one_raw_row_is_enough_for_energies() -> None:
    rows = log_softmaxed([[1, 2, 3]] * 3)
    rows[2] += 5.0
    assert not trace_of(rows).normalised


def test_an_unknown_signal_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'surprise'") as raised:
        trace_of([[1, 2, 3]] * 2).signal("surprise")
    assert all(name in str(raised.value) for name in SIGNALS)


def test_no_other_attribute_is_taken_for_a_signal() -> None:
    with pytest.raises(ConfigError):
        trace_of([[1, 2, 3]] * 2).signal("log_partition")


@pytest.mark.parametrize("last", [True, False])
def test_an_empty_trace_works(last: bool) -> None:
    trace = trace_of([[1, 2, 3]], last)
    assert (len(trace), trace.text, trace.content_end, trace.tokens()) == (0, "", 0, [])
    assert all(trace.signal(name).shape == (0,) for name in SIGNALS)
    assert_same(Trace.from_json(trace.to_json()), trace)


@pytest.mark.parametrize(("content", "end"), [(0, 0), (1, 1), (2, 1), (3, 4), (4, 4)])
def test_content_ends_after_the_last_token_with_content(content: int, end: int) -> None:
    row = Row(2.0, 0.0, 0.1, 1.0)
    steps = [Step(t, piece, 1.5, row) for t, piece in enumerate([b"ab", b"", b"", b"cd", b""])]
    assert Trace.from_steps(steps, content_bytes=content).content_end == end
