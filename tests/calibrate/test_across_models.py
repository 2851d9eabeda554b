"""A detector fitted to several models at once, each with its own level, on a quiz and elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from energy_guard.calibrate.across_models import (
    Answers,
    fit_across,
    level_of,
    level_of_tasks,
    slope_of_tasks,
)

NAMES = ("span.nll:max", "span.tokens", "asked.sum")
LEVELS = {"large": -1.0, "middle": 0.0, "small": 1.0}
ELSEWHERE = 0.8


def answers(seed: int = 0, n: int = 6000, sums: float = 1.5) -> Answers:
    """Answers of three models; the nll tells wrong from right, sums are wrong more often."""
    rng = np.random.default_rng(seed)
    models = rng.choice(list(LEVELS), n)
    tasks = rng.choice(["quiz", "trivia", "sums"], n)
    is_sum = tasks == "sums"
    values = np.stack([rng.normal(size=n), rng.normal(5, 2, n), is_sum], axis=1)
    odds = 1.2 * values[:, 0] + sums * is_sum + ELSEWHERE * (tasks != "quiz")
    odds += np.array([LEVELS[model] for model in models])
    wrong = rng.random(n) < 1 / (1 + np.exp(-odds))
    return Answers(NAMES, values, wrong, models, tasks, tasks == "quiz")


def test_levels_of_models_and_how_much_harder_it_is_elsewhere_are_found() -> None:
    found = fit_across(answers(), ridge=1e-4)
    assert found.levels == pytest.approx(LEVELS, abs=0.25)
    assert sum(found.levels.values()) == pytest.approx(0)
    assert found.elsewhere == pytest.approx(ELSEWHERE, abs=0.25)
    weights = {term.feature: term.weight / term.scale for term in found.detector.terms}
    assert weights["span.nll:max"] == pytest.approx(1.2, abs=0.15)
    assert weights["asked.sum"] == pytest.approx(1.5, abs=0.3)
    assert abs(weights["span.tokens"]) < 0.05


def test_its_score_is_the_log_odds_at_home_of_a_model_at_the_mean_level() -> None:
    data = answers()
    found = fit_across(data, ridge=1e-4)
    home = data.part((data.models == "middle") & data.at_home)
    odds = found.detector.log_odds(home.values) + found.levels["middle"]
    assert (1 / (1 + np.exp(-odds))).mean() == pytest.approx(home.wrong.mean(), abs=0.03)


def test_what_is_odd_about_one_task_does_not_pass_for_what_an_uncertain_token_means() -> None:
    """One task is nearly all right although its tokens are unlikely, as another's are."""
    rng = np.random.default_rng(3)
    n = 8000
    tasks = rng.choice(["quiz", "labels", "trivia", "names"], n)
    unlikely = np.isin(tasks, ["labels", "names"])
    values = np.stack([rng.normal(2.0 * unlikely), rng.normal(5, 2, n), np.zeros(n)], axis=1)
    odds = 1.2 * (values[:, 0] - 1) + ELSEWHERE * (tasks != "quiz") - 4 * (tasks == "labels")
    wrong = rng.random(n) < 1 / (1 + np.exp(-odds))
    models = rng.choice(list(LEVELS), n)
    found = fit_across(Answers(NAMES, values, wrong, models, tasks, tasks == "quiz"), ridge=1e-4)
    weights = {term.feature: term.weight / term.scale for term in found.detector.terms}
    assert weights["span.nll:max"] == pytest.approx(1.2, abs=0.2)


def test_a_task_with_many_answers_does_not_count_for_more_than_one_with_enough() -> None:
    """A thousand answers of one model to one task are as much as `_MOST` of another's."""
    data = answers(n=9000)
    rare = (data.models != "large") | (np.arange(9000) % 5 == 0)
    found, fewer = fit_across(data), fit_across(data.part(rare))
    assert fewer.elsewhere == pytest.approx(found.elsewhere, abs=0.2)
    assert fewer.levels == pytest.approx(found.levels, abs=0.3)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_level_makes_log_odds_right_on_average(share: float) -> None:
    rng = np.random.default_rng(0)
    odds, wrong = rng.normal(size=400) * 3, np.arange(400) < 400 * share
    level = level_of(odds, wrong)
    smoothed = (400 * share + 1) / 402
    assert (1 / (1 + np.exp(-(odds + level)))).mean() == pytest.approx(smoothed, abs=1e-6)


@pytest.mark.parametrize(("slope", "found"), [(0.5, 0.5), (0.9, 0.9), (1.6, 1.0)])
def test_how_much_log_odds_count_elsewhere_is_found_and_never_above_one(
    slope: float, found: float
) -> None:
    """A task with twenty times the answers, whose log-odds tell nothing, counts as one task."""
    rng = np.random.default_rng(1)
    tasks = []
    for n, level in ((3000, 0.5), (2500, 0.5), (4000, 0.5)):
        odds = rng.normal(size=n) * 2
        tasks.append((odds, rng.random(n) < 1 / (1 + np.exp(-slope * odds - level))))
    assert slope_of_tasks(tasks) == pytest.approx(found, abs=0.06)
    level = level_of_tasks([(slope * odds, wrong) for odds, wrong in tasks])
    assert level == pytest.approx(0.5, abs=0.06)
    blind = rng.normal(size=2000) * 2, rng.random(2000) < 0.6
    often = tuple(np.concatenate([part] * 20) for part in blind)
    reversed_ = [(-odds, wrong) for odds, wrong in tasks]
    assert slope_of_tasks(reversed_) == 0.1
    once, many = (slope_of_tasks([*tasks, some]) for some in (blind, often))
    assert once == pytest.approx(many, abs=1e-3)
    assert once < slope
