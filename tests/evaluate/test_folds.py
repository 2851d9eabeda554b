from __future__ import annotations

import numpy as np
import pytest

from energy_guard.calibrate.detector import FOLDS, Examples, fit
from energy_guard.estimates.ranking import auroc
from energy_guard.evaluate.folds import DIVISIONS, CrossFitted, cross_fit
from energy_guard.evaluate.paired_auroc import aurocs
from energy_guard.fitted import FittedDetector

NAMES = ("span.nll:mean", "span.entropy:mean", "span.tokens")


def examples(seed: int = 0, n: int = 120, weight: float = 1.0) -> Examples:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, len(NAMES)))
    wrong = rng.random(n) < 1 / (1 + np.exp(-weight * values[:, 0]))
    return Examples(NAMES, values, wrong, np.full(n, "t"))


def value(risk: CrossFitted, wrong: np.ndarray) -> float:
    return aurocs({"risk": risk}, wrong).values["risk"]


def test_cross_fitting_sees_no_label_of_its_own_fold() -> None:
    data = examples()
    found = cross_fit(data, fit)
    assert found.scores.shape == found.folds.shape == (DIVISIONS, 120)
    for scores, folds in zip(found.scores, found.folds, strict=True):
        held = folds == 0
        turned = np.where(held, ~data.wrong, data.wrong)
        again = fit(Examples(NAMES, data.values, turned, data.tasks).part(~held))
        steps = np.diff(again.log_odds(data.values[held])) / np.diff(scores[held])
        assert steps == pytest.approx(np.full(len(steps), steps[0]))
        assert steps[0] > 0


def test_a_division_is_on_one_scale_however_far_each_detector_was_held_back() -> None:
    data = examples()
    spread = iter((0.01, 10.0, 0.01, 10.0, 0.01))

    def uneven(part: Examples) -> FittedDetector:
        found, factor = fit(part), next(spread)
        terms = tuple(t.model_copy(update={"weight": t.weight * factor}) for t in found.terms)
        return found.model_copy(update={"terms": terms, "intercept": factor})

    even = cross_fit(data, fit, divisions=1)
    assert cross_fit(data, uneven, divisions=1).scores == pytest.approx(even.scores)


def test_auroc_is_that_of_each_fold_weighted_by_its_pairs() -> None:
    data = examples(n=61)
    found = cross_fit(data, fit)
    won = compared = 0.0
    for scores, folds in zip(found.scores, found.folds, strict=True):
        for fold in range(FOLDS):
            held = folds == fold
            bad = data.wrong[held]
            pairs = bad.sum() * (~bad).sum()
            measured = auroc(scores[held], bad)
            won, compared = won + measured.value * pairs, compared + pairs
    assert value(found, data.wrong) == pytest.approx(won / compared, abs=1e-6)


def test_a_fold_of_equal_scores_is_a_half() -> None:
    data = examples(n=40)
    folds = cross_fit(data, fit).folds
    assert value(CrossFitted(np.zeros(folds.shape), folds), data.wrong) == 0.5


def test_with_nothing_to_learn_it_is_a_half_and_not_below() -> None:
    """Answers of different folds, ranked together, come out the wrong way round."""
    within, together = [], []
    for seed in range(60):
        data = examples(seed, n=60, weight=0.0)
        found = cross_fit(data, fit, divisions=1)
        within.append(value(found, data.wrong))
        together.append(auroc(found.once, data.wrong).value)
    error = np.std(within) / np.sqrt(len(within))
    assert abs(np.mean(within) - 0.5) < 3 * error
    assert np.mean(together) < np.mean(within)


def test_some_answers_of_it_and_more_answers_around_it() -> None:
    data = examples()
    found = cross_fit(data, fit)
    where = np.arange(150) % 5 != 0
    wide = found.placed(where)
    assert np.isnan(wide.once[~where]).all()
    assert (wide[where].scores == found.scores).all()
    assert (wide[where].folds == found.folds).all()
    gap = aurocs({"risk": wide}, np.arange(150) % 2 == 0)
    assert gap.missing["risk"].startswith("30 of 150")
