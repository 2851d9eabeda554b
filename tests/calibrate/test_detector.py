from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.calibrate.detector import FEATURES, Examples, adapt, fit, folds_of
from energy_guard.energy import Row
from energy_guard.errors import ConfigError, InputError
from energy_guard.features import features
from energy_guard.fitted import DetectorTraining, FittedDetector, Term
from energy_guard.locate import Asked, NotLocated, Span, whole
from energy_guard.request import Finished, Request
from energy_guard.score import Score, Unscored
from energy_guard.trace import Step, Trace

NAMES = ("span.nll:max", "span.entropy:mean", "span.tokens")


def examples(seed: int = 0, n: int = 300, weights: tuple[float, ...] = (1.5, 0.0, 0.0)) -> Examples:
    """Two tasks, one with a lower base rate and another level of the features."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 3))
    tasks = np.where(np.arange(n) % 3 == 0, "hard", "easy")
    odds = values @ np.array(weights) + np.where(tasks == "hard", 1.5, -0.5)
    wrong = rng.random(n) < 1 / (1 + np.exp(-odds))
    values += np.where(tasks == "hard", 2.0, 0.0)[:, None]
    return Examples(NAMES, values * np.array([3.0, 0.1, 20.0]), wrong, tasks)


def auroc(detector: FittedDetector, data: Examples) -> float:
    odds = detector.log_odds(data.values)
    values = []
    for task in np.unique(data.tasks):
        bad = odds[(data.tasks == task) & data.wrong]
        good = odds[(data.tasks == task) & ~data.wrong]
        values.append((bad[:, None] > good[None]).mean())
    return float(np.mean(values))


def test_the_feature_that_tells_wrong_from_right_gets_the_weight() -> None:
    detector = fit(examples())
    weights = {term.feature: term.weight for term in detector.terms}
    assert weights["span.nll:max"] > 4 * max(abs(weights[name]) for name in NAMES[1:]) > 0
    assert auroc(detector, examples(seed=1)) > 0.78
    assert detector.training == DetectorTraining(
        tasks=("easy", "hard"), n=300, n_wrong=detector.training.n_wrong
    )


def test_a_feature_that_only_tells_tasks_apart_gets_none() -> None:
    data = examples(weights=(0.0, 0.0, 0.0), n=6000)
    assert max(abs(term.weight) for term in fit(data).terms) < 0.1


def test_the_unit_of_a_feature_does_not_matter() -> None:
    data = examples()
    other = Examples(NAMES, data.values * 1000 - 7, data.wrong, data.tasks)
    assert fit(other).log_odds(other.values) == pytest.approx(
        fit(data).log_odds(data.values), abs=1e-4
    )


def test_adapting_turns_a_weight_round_where_the_answers_say_so() -> None:
    prior = fit(examples(weights=(0.0, 1.5, 0.0)))
    new = examples(seed=2, weights=(0.0, -1.5, 0.0), n=600)
    assert auroc(prior, new) < 0.3
    assert auroc(adapt(prior, new), examples(seed=3, weights=(0.0, -1.5, 0.0))) > 0.7


def test_adapting_to_a_few_coin_tosses_forgets_nothing() -> None:
    prior = fit(examples())
    tossed = np.random.default_rng(5).random(120) < 0.5
    noise = Examples(NAMES, examples().values[:120], tossed, np.full(120, "noise"))
    after = auroc(adapt(prior, noise), examples(seed=1, n=900))
    assert after > auroc(prior, examples(seed=1, n=900)) - 0.02


def test_folds_are_stratified_and_repeatable() -> None:
    data = examples()
    folds = folds_of(data)
    assert (folds == folds_of(data)).all()
    for task in ("easy", "hard"):
        for wrong in (False, True):
            counts = np.bincount(folds[(data.tasks == task) & (data.wrong == wrong)], minlength=5)
            assert counts.max() - counts.min() <= 1


def test_one_class_is_said_and_nothing_is_fitted() -> None:
    data = examples()
    with pytest.raises(InputError, match="all 300 answers are wrong"):
        Examples(NAMES, data.values, np.ones(300, bool), data.tasks)
    split = np.where(data.wrong, "a", "b")
    with pytest.raises(InputError, match="no task has both"):
        fit(Examples(NAMES, data.values, data.wrong, split))
    holes = data.values.copy()
    holes[3, 1] = np.nan
    with pytest.raises(InputError, match="a feature is missing"):
        Examples(NAMES, holes, data.wrong, data.tasks)


def test_it_is_stored_as_plain_numbers_and_read_back_the_same(tmp_path: Path) -> None:
    detector = fit(examples())
    file = tmp_path / "detector.json"
    file.write_text(detector.model_dump_json(by_alias=True))
    assert json.loads(file.read_text())["terms"][0].keys() == {
        "feature",
        "centre",
        "scale",
        "weight",
        "low",
        "high",
    }
    again = FittedDetector.read(file)
    assert again == detector
    assert again.name == detector.name
    other = detector.model_copy(update={"intercept": detector.intercept + 1e-9})
    assert other.name != detector.name


def test_bad_files_are_refused() -> None:
    term = {"feature": "span.nll:max", "centre": 0, "scale": 1, "weight": 1}
    with pytest.raises(ConfigError, match="scale"):
        Term(**term | {"scale": 0})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="there is no feature"):
        Term(**term | {"feature": "span.nll:middle"})  # type: ignore[arg-type]


def short(last: Row | None) -> Trace:
    rows = [Row(9.0, 0.0, 0.4, 2.0), Row(8.0, 0.0, 0.2, 3.0)]
    steps = [Step(0, b"Par", 8.5, rows[0]), Step(1, b"is", 7.9, rows[1])]
    return Trace.from_steps(steps, last, finish_reason="length")


def detector_of(*names: str) -> FittedDetector:
    terms = tuple(Term(feature=name, centre=0, scale=1, weight=1) for name in names)
    return FittedDetector(
        terms=terms, intercept=0.0, training=DetectorTraining(tasks=("t",), n=9, n_wrong=4)
    )


def test_a_score_keeps_the_nll_of_the_tokens_as_evidence() -> None:
    score = detector_of("span.nll:sum").score(short(None), Span((0, 1), "Paris"))
    assert isinstance(score, Score)
    assert score.value == pytest.approx(0.6)
    assert score.values == pytest.approx((0.5, 0.1))
    assert score.weakest_token == 0


def test_what_is_missing_is_unscored_with_its_reason() -> None:
    detector = detector_of("span.nll:sum", "span.spilled_energy:last")
    unscored = detector.score(short(None), Span((0, 1), "Paris"))
    assert isinstance(unscored, Unscored)
    assert "span.spilled_energy:last is missing" in unscored.reason
    assert detector.score(short(None), NotLocated("empty")) == Unscored("no answer found: empty")
    flat = Trace.from_steps(
        [Step(0, b"x", -0.1, Row(0.0, -9.0, 0.1, 1.0))], Row(0.0, -9.0, 0.1, 1.0)
    )
    refused = detector.score(flat, Span((0,), "x"))
    assert isinstance(refused, Unscored)
    assert "log-probabilities" in refused.reason


def test_one_far_out_feature_does_not_decide_alone() -> None:
    detector = detector_of("span.nll:max", "span.entropy:mean")
    assert float(detector.log_odds(np.array([1e9, -1.0]))) == 3.0


@pytest.mark.model
def test_a_live_answer_is_scored_alone(demo: LlamaCpp) -> None:
    request = Request.chat("What is the capital of France?", max_tokens=16)
    trace = next(e.trace for e in demo.generate([request]) if isinstance(e, Finished))
    located = whole(trace)
    assert isinstance(located, Span)
    detector = detector_of(*FEATURES)
    asked = Asked(request.question)
    score = detector.score(trace, located, asked)
    assert isinstance(score, Score)
    assert score.value == pytest.approx(
        float(detector.log_odds(features(trace, located, FEATURES, asked)))
    )
