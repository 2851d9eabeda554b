from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard import Guard, Policy
from energy_guard.backends import Script, Scripted
from energy_guard.energy import Row, RowReducer
from energy_guard.errors import ConfigError
from energy_guard.locate import NotLocated, Span
from energy_guard.request import Finished, Request
from energy_guard.score import POOLINGS, Detector, Score, Unscored
from energy_guard.trace import SIGNALS, Step, Trace

ROWS = [
    Row(12.0, 1.0, 0.5, 3.0),
    Row(11.0, 0.5, 1.5, 0.25),
    Row(14.0, 2.0, 0.1, 6.0),
    Row(13.0, -1.0, 0.9, 2.0),
]
LAST = Row(10.0, 0.0, 0.3, 1.0)
LOGITS = [11.5, 8.0, 13.9, 12.0]
NLL = [0.5, 3.0, 0.1, 1.0]
SPILLED = [-0.5, 6.0, -0.9, -2.0]  # the next row's log-partition less the token's logit


def trace_of(last_row: Row | None = LAST) -> Trace:
    steps = [
        Step(i, b"x", logit, row) for i, (logit, row) in enumerate(zip(LOGITS, ROWS, strict=True))
    ]
    return Trace.from_steps(steps, last_row)


def score(name: str, *tokens: int, trace: Trace | None = None) -> Score | Unscored:
    chosen = trace_of() if trace is None else trace
    return Detector.parse(name).score(chosen, Span(tokens, "x"))


def value(name: str, *tokens: int) -> float:
    found = score(name, *tokens)
    assert isinstance(found, Score), found
    return found.value


@pytest.mark.parametrize(
    ("pooling", "pooled"),
    [
        ("max", np.max),
        ("min", np.min),
        ("mean", np.mean),
        ("sum", np.sum),
        ("first", lambda values: values[0]),
        ("last", lambda values: values[-1]),
    ],
)
@pytest.mark.parametrize("tokens", [(0, 1, 2, 3), (1, 3), (2,)])
def test_poolings_are_those_of_numpy_over_the_tokens_of_the_span(
    pooling: str, pooled: object, tokens: tuple[int, ...]
) -> None:
    assert callable(pooled)
    for signal, values in (("nll", NLL), ("spilled_energy", SPILLED)):
        expected = pooled(np.array(values)[list(tokens)])
        assert value(f"{signal}:{pooling}", *tokens) == pytest.approx(expected)


def test_a_span_of_one_token_gives_the_same_for_every_pooling() -> None:
    assert {round(value(f"nll:{pooling}", 1), 9) for pooling in POOLINGS} == {3.0}


def test_the_score_grows_with_risk_whichever_side_is_riskier() -> None:
    assert value("nll:max", 0, 1) == pytest.approx(3.0)
    assert value("nll:max:low", 0, 1) == pytest.approx(-3.0)
    assert value("margin:min", 0, 1) == pytest.approx(-0.25), "a small margin is risky"
    assert value("margin:min", 0, 1) > value("margin:min", 2, 3)
    assert value("token_logit:mean", 0) == pytest.approx(-11.5)
    assert value("margin:min:high", 0, 1) == pytest.approx(0.25)


def test_the_evidence_keeps_the_signals_own_sign() -> None:
    found = score("margin:min", 1, 3)
    assert isinstance(found, Score)
    assert found.values == (0.25, 2.0)
    assert found.span.tokens == (1, 3)


@pytest.mark.parametrize("signal", SIGNALS)
def test_names_survive_the_round_trip(signal: str) -> None:
    for pooling, side in product(POOLINGS, ("", ":high", ":low")):
        detector = Detector.parse(f"{signal}:{pooling}{side}")
        assert Detector.parse(detector.name) == detector
        assert detector.riskier == side[1:] or not side
    names = {Detector.parse(f"{signal}:max{side}").name for side in ("", ":high", ":low")}
    assert len(names) == 2, "the usual side has one name only"


@pytest.mark.parametrize(
    ("name", "wrong", "allowed"),
    [
        ("delta:max", "delta", SIGNALS),
        ("nll:median", "median", POOLINGS),
        ("nll", "''", POOLINGS),
        ("", "''", SIGNALS),
        ("nll:max:left", "left", ("high", "low")),
        ("nll:max:low:low", "low:low", ("high", "low")),
        ("NLL:max", "NLL", SIGNALS),
    ],
)
def test_unknown_names_are_refused_with_what_is_allowed(
    name: str, wrong: str, allowed: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        Detector.parse(name)
    assert wrong in caught.value.message
    assert all(one in caught.value.hint for one in allowed)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_missing_row_inside_the_span_leaves_it_unscored(pooling: str) -> None:
    found = score(f"spilled_energy:{pooling}", 2, 3, trace=trace_of(last_row=None))
    assert isinstance(found, Unscored)
    assert "spilled_energy" in found.reason


def test_a_missing_row_matters_only_where_it_is_needed() -> None:
    trace = trace_of(last_row=None)
    assert isinstance(score("spilled_energy:max", 1, 2, trace=trace), Score)
    assert isinstance(score("nll:max", 2, 3, trace=trace), Score)


@pytest.mark.parametrize("signal", SIGNALS)
def test_log_probabilities_have_no_energy_but_the_rest(signal: str) -> None:
    row = np.log(np.array([[0.7, 0.2, 0.1]] * 3, np.float32))
    events = Scripted([b"a", b"b", b"c"], [Script((0, 1), row)]).generate([Request.chat("?")])
    trace = next(event.trace for event in events if isinstance(event, Finished))
    found = score(f"{signal}:max", 0, 1, trace=trace)
    if signal in ("nll", "entropy", "margin"):
        assert isinstance(found, Score)
    else:
        assert isinstance(found, Unscored)
        assert "log-probabilities" in found.reason
    if signal == "nll":
        assert isinstance(found, Score)
        assert found.value == pytest.approx(-math.log(0.2), abs=1e-5)


def test_no_span_is_no_score_and_says_why() -> None:
    found = Detector.parse("nll:max").score(trace_of(), NotLocated("the answer is empty"))
    assert isinstance(found, Unscored)
    assert "the answer is empty" in found.reason


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_risk_of_a_single_token_is_that_of_the_whole_trace(signal: str) -> None:
    detector = Detector.parse(f"{signal}:max")
    trace = trace_of()
    step = Step(1, b"x", LOGITS[1], ROWS[1])
    assert detector.token_risk(step, ROWS[2]) == pytest.approx(
        detector.risk(float(trace.signal(signal)[1]))
    )


def test_a_single_token_without_its_next_row_has_no_energy_risk() -> None:
    step = Step(1, b"x", LOGITS[1], ROWS[1])
    assert Detector.parse("spilled_energy:max").token_risk(step, None) is None
    assert Detector.parse("nll:max").token_risk(step, None) == pytest.approx(3.0)


BLIND = ("entropy:max", "entropy:mean", "margin:min", "marginal_energy:max")


def forced(word: str) -> Scripted:
    """A backend that is sure of another city, and is made to write this one."""
    vocabulary = [b"", b" Paris", word.encode(), b"It is", b"."]
    chosen = [3, 2, 4, 0]
    rows = np.zeros((4, 5), dtype=np.float32)
    rows[[0, 2, 3], [3, 4, 0]] = 9.0
    rows[1, 1] = 9.0
    return Scripted(vocabulary, [Script(tuple(chosen), rows)], end=0)


@pytest.mark.parametrize("name", BLIND)
def test_a_signal_that_does_not_see_the_token_says_nothing_of_a_forced_one(name: str) -> None:
    policy = Policy(detector=name, warn=50.0, abstain=90.0)
    result = Guard(forced(" Lyon"), policy).ask("Which city?")
    assert (result.verdict, result.shown, result.score) == ("unscored", False, None)
    assert "forced" in result.reason


@pytest.mark.parametrize("name", ["nll:max", "nll:mean", "spilled_energy:max"])
def test_a_signal_of_the_token_itself_is_evidence_on_a_forced_one_too(name: str) -> None:
    limits = Policy(detector=name, warn=2.0, abstain=3.0)
    assert Guard(forced(" Lyon"), limits).ask("Which city?").verdict == "abstain"


def test_a_forced_word_beside_the_exact_answer_has_no_evidence_either() -> None:
    said = [("Paris", 0.97), (" is it, on the", 0.97), (" Rhine", 0.001), (".", 0.97)]
    policy = Policy(detector="entropy:max", warn=50.0, abstain=90.0)
    result = Guard(Scripted.saying(said), policy).ask("What is the capital of France?")
    assert (result.verdict, result.shown) == ("unscored", False)


@given(st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=9))
def test_the_most_likely_token_never_counts_as_forced(logits: list[float]) -> None:
    row = RowReducer(len(logits)).reduce(np.array(logits, dtype=np.float32))
    trace = Trace.from_steps([Step(0, b"x", max(logits), row)], row)
    assert isinstance(Detector.parse("entropy:max").score(trace, Span((0,), "x")), Score)
