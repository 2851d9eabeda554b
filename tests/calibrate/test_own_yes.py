"""What a model's yes about its passages adds to a detector that it shares with others."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from graded import answered

from energy_guard.calibrate.learn import in_splits, learn_from_quiz
from energy_guard.calibrate.own_yes import ASKED, CONFIRMED
from energy_guard.energy import Floats
from energy_guard.fitted import FittedDetector
from energy_guard.profile.other_models import other_models
from energy_guard.questions.answered import Answered
from energy_guard.score import Score
from energy_guard.support_features import CONFIRMED as ARRAY

PASSAGE: Final = "The mill on Bell Street was built in 1822 by Jonas Reed, a clockmaker."


def free(number: int, rng: np.random.Generator) -> Answered:
    risk = float(rng.exponential(0.7) + 0.02)
    return answered(number, bool(rng.random() < 1 - np.exp(-risk)), risk)


def over_passage(number: int, rng: np.random.Generator, *, worth: float) -> Answered:
    """An answer of which the model's yes is lower by so many standard deviations if it is wrong."""
    plain = answered(number, bool(rng.random() < 0.5), 0.3)
    yes = np.full(3, 1.0 + 0.25 * rng.normal(0.0 if plain.wrong else worth))
    trace = replace(plain.attempts[0].trace, extras={ARRAY: yes})
    attempt = replace(plain.attempts[0], trace=trace)
    return replace(plain, context=PASSAGE, attempts=(attempt,))


def own(answers: list[Answered]) -> FittedDetector:
    scorer = learn_from_quiz(in_splits(answers), promised=False).scorer
    assert isinstance(scorer, FittedDetector)
    return scorer


def test_a_yes_that_tells_right_from_wrong_is_asked_for() -> None:
    rng = np.random.default_rng(5)
    answers = [free(n, rng) for n in range(250)]
    answers += [over_passage(n, rng, worth=1.5) for n in range(250, 310)]
    detector = own(answers)

    assert detector.needs_support == {ASKED, CONFIRMED}
    sure, doubted = (
        max(
            float(a.scored_by(detector).score.value)  # type: ignore[union-attr]
            for a in answers
            if ARRAY in a.trace.extras and low < a.trace.extras[ARRAY][0] < high
        )
        for low, high in ((1.5, 9.0), (0.4, 0.8))
    )
    assert sure < doubted
    plain = [a for a in answers if not a.context]
    assert [a.scored_by(detector).score for a in plain] != []
    for a in plain[:20]:
        now, before = a.scored_by(detector).score, a.scored_by(other_models().fitted).score
        assert now.value == pytest.approx(before.value)  # type: ignore[union-attr]


def test_an_answer_after_which_nothing_was_asked_counts_as_one_with_a_mean_yes() -> None:
    rng = np.random.default_rng(5)
    answers = [free(n, rng) for n in range(250)]
    answers += [over_passage(n, rng, worth=1.5) for n in range(250, 310)]
    detector = own(answers)
    over = answers[-1]

    def score(extras: dict[str, Floats]) -> float:
        trace = replace(over.attempts[0].trace, extras=extras)
        attempt = replace(over.attempts[0], trace=trace)
        found = replace(over, attempts=(attempt,)).scored_by(detector).score
        assert isinstance(found, Score)
        return found.value

    mean = float(np.mean([a.trace.extras[ARRAY][0] for a in answers[250:]]))
    assert score({}) == pytest.approx(score({ARRAY: np.full(3, mean)}))
    assert score({}) != pytest.approx(score({ARRAY: np.full(3, mean + 0.2)}))
    assert FittedDetector.model_validate_json(detector.model_dump_json(by_alias=True)) == detector


def test_a_yes_that_tells_nothing_is_not_asked_for() -> None:
    rng = np.random.default_rng(6)
    answers = [free(n, rng) for n in range(250)]
    answers += [over_passage(n, rng, worth=0.0) for n in range(250, 310)]
    assert own(answers) == other_models().fitted


def test_a_yes_that_is_missing_of_some_is_not_asked_for() -> None:
    rng = np.random.default_rng(5)
    answers = [free(n, rng) for n in range(250)]
    answers += [over_passage(n, rng, worth=1.5) for n in range(250, 310)]
    answers.append(replace(answered(310, False, 0.3), context=PASSAGE))
    assert own(answers) == other_models().fitted
