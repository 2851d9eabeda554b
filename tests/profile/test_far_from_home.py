"""What becomes of answers unlike all that a profile was made from: never an accepted one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard import Guard, Policy, Profile, Result
from energy_guard.backends import Scripted
from energy_guard.calibrate.make_profile import risk_of
from energy_guard.features import difference
from energy_guard.fitted import FittedDetector
from energy_guard.locate import Span
from energy_guard.score import Score, Unlike

LESS_SURE = "the model was less sure of this answer than of any that the profile was made from"
LONGER = "the exact answer is longer than any that the profile was made from"
NOT_MEASURED = "how often such answers are wrong was not measured: "


def detector(**weights: float) -> FittedDetector:
    """One that knows an nll up to 4 (5 with the margin), and one to three tokens."""
    terms = [
        {"feature": "span.nll:max", "centre": 0, "scale": 1, "weight": weights.get("nll", 1.0)},
        {"feature": "span.tokens", "centre": 0, "scale": 1, "weight": weights.get("tokens", 0.1)},
    ]
    training = {"tasks": ["t"], "n": 9, "n_wrong": 4}
    fitted = FittedDetector(terms=terms, intercept=0, training=training)
    return fitted.knowing(np.array([[0.0, 1.0], [4.0, 3.0]]))


def profile(backend: Scripted, fitted: FittedDetector, **changes: Any) -> Profile:
    values: dict[str, Any] = {
        "model": backend.info.fingerprint,
        "backend": "scripted",
        "mode": "chat",
        "detector": fitted.name,
        "fitted": fitted,
        "locator": "whole",
        "calibration": {
            "slope": 1, "intercept": -1, "n": 98, "n_wrong": 40, "lowest": -9, "highest": 9,
        },
    }  # fmt: skip
    return Profile(**values | changes)


def said(
    *words: float, fitted: FittedDetector, policy: Policy | None = None, **changes: Any
) -> Result:
    """The result for an answer whose words have these probabilities."""
    backend = Scripted.saying([(f" word{n}", p) for n, p in enumerate(words)])
    return Guard(backend, policy, profile=profile(backend, fitted, **changes)).ask("Which?")


def test_an_answer_less_sure_than_any_is_withheld_as_risky_and_says_why() -> None:
    far = said(0.001, fitted=detector())
    assert (far.verdict, far.shown) == ("abstain", False)
    assert far.p_wrong is not None and far.p_wrong >= 0.5
    assert far.reason.endswith(f"at or above the limit of 0.5; {LESS_SURE}")
    assert far.unquoted_reason.endswith(LESS_SURE)
    assert far.p_wrong_from == "profile" and not far.calibrated


def test_an_ordinary_answer_has_its_own_p_wrong_and_says_nothing_of_others() -> None:
    near = said(0.05, fitted=detector())
    assert near.calibrated and near.verdict == "abstain"
    assert "made from" not in near.reason


def test_an_answer_that_is_far_on_the_sure_side_is_unscored() -> None:
    far = said(0.9, 0.9, 0.9, 0.9, fitted=detector(tokens=-0.1))
    assert (far.verdict, far.shown, far.p_wrong) == ("unscored", False, None)
    assert far.reason == NOT_MEASURED + LONGER


@pytest.mark.parametrize(
    ("tokens", "riskier", "reason"), [(-0.1, True, LESS_SURE), (-9.0, False, LONGER)]
)
def test_the_larger_push_decides_when_features_lie_outside_on_both_sides(
    tokens: float, riskier: bool, reason: str
) -> None:
    fitted = detector(tokens=tokens)
    unlike = fitted._unlike(np.array([7.0, 4.0]))  # 2 and 0.5 beyond what is known
    assert unlike == Unlike(riskier, reason)


def test_what_is_far_only_by_a_feature_with_a_weight_of_zero_is_not_called_risky() -> None:
    unlike = detector(nll=0.0)._unlike(np.array([99.0, 2.0]))
    assert unlike is not None and not unlike.riskier


def test_beyond_the_riskiest_score_p_wrong_is_that_of_the_riskiest() -> None:
    backend = Scripted.saying([("x", 0.9)])
    made = profile(backend, detector())
    at = Score(50.0, detector(), Span((0,), "x"), (1.0,))
    assert made.p_wrong(at) is None
    assert made.far_risk(at) == made.calibration.p_wrong(9.0)
    assert "riskier than any" in (made.why_not(at) or "")
    below = Score(-50.0, detector(), Span((0,), "x"), (1.0,))
    assert made.far_risk(below) is None and "safer than any" in (made.why_not(below) or "")


def test_far_on_the_risky_side_but_below_the_limit_is_unscored_and_not_accepted() -> None:
    flat = {"slope": 0, "intercept": -3, "n": 98, "n_wrong": 4, "lowest": -9, "highest": 9}
    far = said(0.001, fitted=detector(), calibration=flat)
    assert (far.verdict, far.shown, far.p_wrong) == ("unscored", False, None)
    assert far.reason == NOT_MEASURED + LESS_SURE


def test_after_retries_there_is_no_p_wrong_far_from_home() -> None:
    made = profile(Scripted.saying([("x", 0.9)]), detector(), retries=1)
    assert made.far_risk(Score(50.0, detector(), Span((0,), "x"), (1.0,))) is None


@pytest.mark.parametrize("limit", [0.1, 0.5, 0.96])
@pytest.mark.parametrize("words", [(0.001,), (0.9,), (0.9,) * 4])
def test_what_a_promise_counts_as_shown_is_what_is_shown(
    words: tuple[float, ...], limit: float
) -> None:
    """With a policy that shows unscored answers: those far on the risky side have a risk."""
    shown = said(
        *words, fitted=detector(), unscored="show", warn=limit, abstain=limit,
        calibration={
            "slope": 1, "intercept": -1, "n": 98, "n_wrong": 40, "lowest": 0, "highest": 9,
        },
    )  # fmt: skip
    assert isinstance(shown.kept.score, Score)
    made = profile(
        Scripted.saying([("x", 0.9)]), detector(), unscored="show",
        calibration={
            "slope": 1, "intercept": -1, "n": 98, "n_wrong": 40, "lowest": 0, "highest": 9,
        },
    )  # fmt: skip
    risk = risk_of(shown.kept.score, made)
    assert shown.shown == (np.isnan(risk) or risk < limit)


LIMITS = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(
    words=st.lists(st.floats(0.0001, 0.999), min_size=1, max_size=6),
    nll=st.floats(-2, 2),
    tokens=st.floats(-2, 2),
    slope=st.floats(0, 3),
    intercept=st.floats(-6, 6),
    limits=LIMITS,
)
def test_an_attack_that_pushes_a_feature_out_of_range_is_never_shown(
    words: list[float],
    nll: float,
    tokens: float,
    slope: float,
    intercept: float,
    limits: list[float],
) -> None:
    """Whatever the weights, the calibration and the limits are: out of range is not shown."""
    fitted = detector(nll=nll, tokens=tokens)
    result = said(
        0.0005,
        *words,
        fitted=fitted,
        policy=Policy(on="p_wrong", warn=limits[0], abstain=limits[1]),
        calibration={
            "slope": slope, "intercept": intercept, "n": 98, "n_wrong": 40,
            "lowest": -99, "highest": 99,
        },
    )  # fmt: skip
    assert isinstance(result.kept.score, Score) and result.kept.score.unlike is not None
    assert result.verdict in ("abstain", "unscored") and not result.shown


@pytest.mark.parametrize(
    ("name", "more", "said_of_it"),
    [
        ("span.nll:max", True, "less sure"),
        ("span.nll:max", False, "surer"),
        ("answer.margin:mean", True, "surer"),
        ("answer.margin:mean", False, "less sure"),
        ("span.entropy:sum", True, "less sure"),
        ("span.doubtful", True, "less sure"),
        ("span.tokens", True, "exact answer is longer"),
        ("answer.tokens", False, "answer is shorter"),
        ("answer.distinct", False, "repeats itself more"),
        ("prompt.centred_marginal_energy", True, "question is unlike"),
        ("span.spilled_energy:sum", True, "answer is unlike"),
        ("answer.ended", False, "answer is unlike"),
    ],
)
def test_a_difference_is_told_in_words_and_not_as_the_name_of_a_feature(
    name: str, more: bool, said_of_it: str
) -> None:
    words = difference(name, more=more)
    assert said_of_it in words and words.endswith("that the profile was made from")
    assert name not in words and ":" not in words
