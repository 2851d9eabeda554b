"""Numbers that no model can have given are refused, in a file and from a hand alike."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from energy_guard import Trace
from energy_guard.energy import LogProbabilityRow, Row, RowReducer
from energy_guard.errors import InputError
from energy_guard.locate import Span
from energy_guard.score import Detector, Unscored
from energy_guard.trace import Step

RNG = np.random.default_rng(7)
ROWS = RNG.normal(3, 4, (4, 500)).astype(np.float32)
BETAS = [0.5, 0.7, 1.0, 1.3, 2.0]


def trace_of(rows: np.ndarray, beta: float = 1.0) -> Trace:
    reducer = RowReducer(rows.shape[1], rows.dtype, beta)
    steps = [Step(7, b"x", reducer.token_logit(row, 7), reducer.reduce(row)) for row in rows[:-1]]
    return Trace.from_steps(steps, reducer.reduce(rows[-1]), inverse_temperature=beta)


def changed(name: str, value: float) -> np.ndarray:
    numbers = getattr(trace_of(ROWS), name).copy()
    numbers[1] = value
    return numbers


IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "nll below 0": {"token_logit": changed("token_logit", 400.0)},
    "log_partition below the token's logit": {"log_partition": changed("log_partition", -90.0)},
    "entropy below 0": {"entropy": changed("entropy", -0.5)},
    "entropy above any vocabulary's": {
        "entropy": changed("entropy", 20.0),
        "row_mean": changed("row_mean", -90.0),
    },
    "entropy above that of its row": {"entropy": changed("entropy", 16.0)},
    "margin below 0": {"margin": changed("margin", -1.0)},
    "row_mean above log_partition": {"row_mean": changed("row_mean", 90.0)},
    **{
        f"{name} is {value}": {name: changed(name, value)}
        for name in ("token_logit", "log_partition", "row_mean", "entropy", "margin")
        for value in (math.inf, -math.inf)
    },
    **{
        f"{name} is missing": {name: changed(name, math.nan)}
        for name in ("token_logit", "log_partition", "row_mean")
    },
    "an array of another length": {"margin": np.zeros(2)},
    "more content than there is": {"content_bytes": 99},
    "less than no content": {"content_bytes": -1},
    "less than no prompt": {"prompt_tokens": -3},
    "no inverse temperature": {"inverse_temperature": math.nan},
    "another end": {"finish_reason": "bored"},
    "a list for an array": {"margin": [1.0, 1.0, 1.0]},
    "pieces of text": {"pieces": ("x", "x", "x")},
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_an_impossible_trace_cannot_be_made(case: str) -> None:
    with pytest.raises(InputError, match=r"this is not a trace|no model can have given"):
        replace(trace_of(ROWS), **IMPOSSIBLE[case])


STORED = {
    "token_logit": 400.0,
    "log_partition": -90.0,
    "entropy": -0.5,
    "margin": -1.0,
    "row_mean": 90.0,
}


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("value", ["impossible", math.inf, "a text"])
def test_an_impossible_trace_is_not_read(name: str, value: Any) -> None:
    data = json.loads(trace_of(ROWS).to_json())
    data[name][1] = STORED[name] if value == "impossible" else value
    with pytest.raises(InputError, match="trace"):
        Trace.from_json(json.dumps(data))


@pytest.mark.parametrize("tokens", [(), (2, 1), (1, 1), (-1,), (0, 9)], ids=str)
def test_a_span_that_runs_backwards_or_beyond_the_trace_is_unscored(
    tokens: tuple[int, ...],
) -> None:
    score = Detector.parse("nll:max").score(trace_of(ROWS), Span(tokens, ""))
    assert isinstance(score, Unscored)
    assert "span" in score.reason


def rounded(rows: np.ndarray, kind: str) -> np.ndarray:
    if kind == "float16":
        return rows.astype(np.float16).astype(np.float32)
    if kind == "bfloat16":
        bits = rows.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view("f4")
    return rows


def log_probabilities(rows: np.ndarray) -> np.ndarray:
    exact = rows.astype(np.float64)
    return (exact - np.log(np.exp(exact).sum(1, keepdims=True))).astype(np.float32)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("spread", [0.05, 1.0, 4.0])
def test_log_probabilities_are_known_at_any_inverse_temperature_and_rounding(
    beta: float, kind: str, spread: float
) -> None:
    rows = RNG.normal(3, spread, (4, 40_000)).astype(np.float32)
    assert not trace_of(rounded(rows, kind), beta).normalised
    trace = trace_of(rounded(log_probabilities(rows), kind), beta)
    assert trace.normalised
    assert Trace.from_json(trace.to_json()).normalised
    score = Detector.parse("spilled_energy:max").score(trace, Span((0, 1), "xx"))
    assert isinstance(score, Unscored)
    assert "log-probabilities" in score.reason


def test_a_row_that_is_near_0_and_was_not_rounded_is_one_of_logits() -> None:
    near = log_probabilities(ROWS)[0] + np.float32(0.004)
    assert isinstance(RowReducer(500).reduce(log_probabilities(ROWS)[0]), LogProbabilityRow)
    assert type(RowReducer(500).reduce(near)) is Row


def test_the_mean_of_a_row_may_be_unknown_of_log_probabilities_alone() -> None:
    trace = trace_of(log_probabilities(ROWS))
    unknown = replace(trace, row_mean=np.full_like(trace.row_mean, math.nan))
    assert np.isfinite(unknown.nll).all()
    assert np.isnan(Trace.from_json(unknown.to_json()).row_mean).all()
    with pytest.raises(InputError, match="row_mean is missing"):
        replace(unknown, log_probabilities=False)
    some = trace.row_mean.copy()
    some[0] = math.nan
    with pytest.raises(InputError, match="row_mean is missing"):
        replace(trace, row_mean=some)
