from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard.calibrate.detector import FEATURES
from energy_guard.energy import Row
from energy_guard.errors import ConfigError, NormalisedRowsError
from energy_guard.features import PLAIN, check_name, difference, features, signals_of
from energy_guard.fitted import DetectorTraining, FittedDetector, Term
from energy_guard.locate import Asked, Span
from energy_guard.trace import SIGNALS, Step, Trace

ROWS = [
    Row(9.0, -1.0, 0.4, 2.0),
    Row(8.0, -2.0, 0.2, 3.0),
    Row(7.0, -1.5, 0.9, 0.5),
]
LAST = Row(6.0, -3.0, 0.1, 4.0)


def trace(last: Row | None = LAST, offset: float = 0.0) -> Trace:
    """Three tokens with p = 1/2, e⁻¹ and e^(−1/4), the first of them outside the span."""
    rows = [Row(r.log_partition + offset, r.mean + offset, r.entropy, r.margin) for r in ROWS]
    after = last and Row(last.log_partition + offset, last.mean + offset, last.entropy, last.margin)
    nlls = (math.log(2) + 1e-9, 1.0, 0.25)
    steps = [
        Step(i, f" w{i}".encode(), row.log_partition - nll, row)
        for i, (row, nll) in enumerate(zip(rows, nlls, strict=True))
    ]
    return Trace.from_steps(steps, after, finish_reason="length")


SPAN = Span((1, 2), "w1 w2")
ASKED = Asked("Which words?")


def test_signals_are_pooled_over_the_span_or_the_answer() -> None:
    names = ["span.nll:max", "span.nll:first", "span.nll:sum", "answer.nll:sum", "answer.nll:min"]
    assert features(trace(), SPAN, names) == pytest.approx([1, 1, 1.25, 1.25 + math.log(2), 0.25])


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [((3,), range(2, 5)), ((0, 1), range(2)), ((6,), range(6, 8)), ((1, 3), range(5))],
)
def test_a_sentence_is_that_of_the_located_tokens_to_its_mark(
    tokens: tuple[int, ...], sentence: range
) -> None:
    """ "Yes. It is York.", a line, "Or not", and the token that ends the answer."""
    pieces = (b"Yes", b".", b" It", b" is York", b".", b"\n", b"Or", b" not", b"")
    nlls = 2.0 ** -np.arange(len(pieces))
    row = Row(0.0, -9.0, 0.1, 1.0)
    steps = [Step(i, each, -nlls[i], row) for i, each in enumerate(pieces)]
    values = features(Trace.from_steps(steps), Span(tokens, ""), ["sentence.nll:sum"])
    assert values == pytest.approx([nlls[sentence].sum()])


def test_the_others_count_and_compare() -> None:
    values = dict(zip(PLAIN, features(trace(), SPAN, PLAIN), strict=True))
    assert values == pytest.approx(
        {
            "prompt.centred_marginal_energy": -10.0,
            "span.tokens": 2,
            "span.share": 2 / 3,
            "span.doubtful": 1 / 2,
            "answer.tokens": 3,
            "answer.distinct": 1,
            "answer.ended": 0,
        }
    )


def test_a_missing_last_row_makes_only_its_features_missing() -> None:
    names = ["span.nll:max", "span.spilled_energy:mean", "span.spilled_energy:first"]
    values = features(trace(last=None), SPAN, names)
    assert np.isnan(values).tolist() == [False, True, False]


@pytest.mark.parametrize("name", ["nll:max", "span.nll", "span.nll:median", "end.nll:max", "x"])
def test_an_unknown_name_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match="there is no feature"):
        features(trace(), SPAN, [name])


def test_energies_of_log_probabilities_are_refused() -> None:
    rows = [Row(0.0, -12.0, 0.2, 1.0)] * 2
    flat = Trace.from_steps([Step(i, b"x", -0.1, row) for i, row in enumerate(rows)], rows[0])
    with pytest.raises(NormalisedRowsError):
        features(flat, Span((0,), "x"), ["span.spilled_energy:mean"])


@given(st.floats(-50, 50))
def test_a_constant_on_every_row_changes_none_of_the_default_features(offset: float) -> None:
    same = features(trace(offset=offset), SPAN, FEATURES, ASKED)
    assert same == pytest.approx(features(trace(), SPAN, FEATURES, ASKED), abs=1e-9)


PROMPT = "prompt.centred_marginal_energy"


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_needs_the_signal_that_it_is_made_of(name: str) -> None:
    """Without the rows' means and partitions those of energies are missing, and no others are."""
    whole = trace()
    nothing = replace(whole, log_probabilities=True, row_mean=np.full(4, math.nan))
    try:
        [value] = features(nothing, SPAN, [name], ASKED)
    except NormalisedRowsError:
        value = math.nan
    energies = any("energy" in signal for signal in signals_of([name]))
    assert math.isnan(value) == energies
    assert signals_of([name]) <= set(SIGNALS)


def test_a_fitted_detector_needs_the_signals_of_all_its_features() -> None:
    terms = [Term(feature=f, centre=0, scale=1, weight=1) for f in ("span.margin:min", PROMPT)]
    training = DetectorTraining(tasks=("t",), n=9, n_wrong=4)
    detector = FittedDetector(terms=terms, intercept=0, training=training)
    assert detector.needs == {"margin", "centred_marginal_energy", "nll"}


def test_the_logarithm_of_a_signal_tells_the_sure_apart_and_those_as_sure_as_can_be_not() -> None:
    names = ["span.nll:max", "span.log_nll:max", "answer.log_entropy:mean"]
    plain, log, entropy = features(trace(), SPAN, names).tolist()
    assert log == pytest.approx(math.log(plain + 0.01))
    [mean] = features(trace(), SPAN, ["answer.entropy:mean"]).tolist()
    assert entropy == pytest.approx(math.log(mean + 0.01))
    assert signals_of(names) == {"nll", "entropy"}
    assert difference("span.log_nll:max", more=True) == difference("span.nll:max", more=True)
    for unknown in ("span.log_margin:max", "span.log_spilled_energy:max", "span.log_nll:middle"):
        with pytest.raises(ConfigError):
            check_name(unknown)
