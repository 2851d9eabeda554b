"""P(wrong) beside the share that is wrong, kind by kind."""

from __future__ import annotations

from typing import Any

import pytest

from energy_guard import Profile
from energy_guard.calibrate.kinds import KindFigures, kinds
from energy_guard.decide import Attempt
from energy_guard.energy import Row
from energy_guard.estimates.estimate import Estimate, NotDefined
from energy_guard.locate import Span
from energy_guard.questions.answered import Answered
from energy_guard.score import Detector, Score, Unscored
from energy_guard.trace import Step, Trace

ROW = Row(2.0, 0.0, 1.0, 1.0)
TRACE = Trace.from_steps([Step(65, b"a", 1.0, ROW)], ROW)
SPAN = Span((0,), "a")
PROFILE = Profile.model_validate(
    {
        "model": "00ff",
        "backend": "scripted",
        "mode": "chat",
        "detector": "nll:max",
        "locator": "whole",
        "calibration": {
            "slope": 1, "intercept": 0, "n": 98, "n_wrong": 40, "lowest": -9, "highest": 9,
        },
    }
)  # fmt: skip
HALF = 0.0
"""The score whose P(wrong) is 1/2."""


def answers(kind: str, outcomes: str, score: float | None = HALF) -> list[Answered]:
    """An answer a letter: r(ight), w(rong) or d(eclined); without a score if it is None."""
    scored = (
        Unscored("too short")
        if score is None
        else Score(score, Detector.parse("nll:max"), SPAN, (score,))
    )
    said: dict[str, Any] = {"r": "right", "w": "wrong", "d": "refused"}
    return [
        Answered(
            f"{kind}{n}{score}", kind, f"{kind} {n}?", None, (), True, said[letter],
            (Attempt(TRACE, SPAN, scored),),
        )
        for n, letter in enumerate(outcomes)
    ]  # fmt: skip


def only(made: list[Answered]) -> KindFigures:
    (figures,) = kinds(made, PROFILE)
    return figures


def test_each_kind_has_its_share_wrong_and_its_mean_p() -> None:
    facts, sums = kinds([*answers("sums", "wwww"), *answers("facts", "rrrw")], PROFILE)
    assert (facts.kind, sums.kind) == ("facts", "sums")
    assert isinstance(facts.wrong, Estimate) and isinstance(sums.wrong, Estimate)
    assert (facts.wrong.value, facts.wrong.n) == (0.25, 4)
    assert sums.wrong.value == 1.0
    assert facts.mean_p == sums.mean_p == 0.5


def test_what_has_no_p_wrong_is_counted_apart_and_in_no_mean() -> None:
    beyond = answers("facts", "w", score=99.0)
    figures = only([*answers("facts", "rw"), *answers("facts", "www", score=None), *beyond])
    assert figures.without == 4
    assert isinstance(figures.wrong, Estimate)
    assert (figures.wrong.value, figures.wrong.n, figures.mean_p) == (0.5, 2, 0.5)


def test_what_the_model_declined_is_in_no_kind() -> None:
    assert only(answers("facts", "rwdd")).without == 0
    assert kinds(answers("facts", "ddd"), PROFILE) == ()


def test_without_any_p_wrong_there_is_no_figure_and_no_verdict() -> None:
    figures = only(answers("facts", "rw", score=None))
    assert isinstance(figures.wrong, NotDefined)
    assert figures.mean_p is None
    assert not figures.is_off


@pytest.mark.parametrize(
    ("outcomes", "off", "chance"),
    [("rw" * 20, False, True), ("rrrw" * 2, True, True), ("rrrw" * 30, True, False)],
)
def test_a_kind_is_off_beyond_a_tenth_and_few_answers_may_be_chance(
    outcomes: str, off: bool, chance: bool
) -> None:
    figures = only(answers("facts", outcomes))
    assert (figures.is_off, figures.may_be_chance) == (off, chance)
