"""Finding neurons: planted ones are found, noise is not, and nothing tells what it has seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planted_contributions import INFO, PLANTED, planted

from energy_guard.energy import Bools, Floats
from energy_guard.estimates.ranking import auroc
from energy_guard.neurons import LabelledContributions, find, find_neurons, fit


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer random neurons and parts than in earnest: each takes a second."""
    monkeypatch.setattr(find, "RANDOM_DRAWS", 1)
    monkeypatch.setattr(find, "PARTS", 2)


def accuracy(risk: Floats, wrong: Bools) -> float:
    return float(np.mean((risk > 0) == wrong))


def scores(rows: LabelledContributions) -> Floats:
    """Higher for wrong answers, in one of two more often than not."""
    return rows.wrong + np.random.default_rng(1).normal(size=len(rows.wrong))


@pytest.mark.parametrize("labelling", ["1-vs-1", "3-vs-1"])
def test_planted_neurons_tell_wrong_from_right_answers(labelling: Any) -> None:
    rows = planted()
    found = find_neurons(rows, INFO, labelling=labelling)
    assert set(found.probe.h_neurons[:2]) == set(PLANTED)
    told = found.by_question
    assert accuracy(told.risks[find.PROBE], rows.wrong) > 0.75
    others = [accuracy(risk, rows.wrong) for risk in told.random]
    assert len(others) == find.RANDOM_DRAWS
    assert np.mean(others) < accuracy(told.risks[find.PROBE], rows.wrong) - 0.1
    assert accuracy(told.risks[find.DENSE], rows.wrong) > np.mean(others)
    assert found.by_task is None, "all are of one task"


def test_both_tiers_together_are_better_than_either() -> None:
    rows = planted(240)
    outside = {"told": scores(rows), "another": -scores(rows)}
    told = find_neurons(rows, INFO, labelling="1-vs-1", outside=outside, tier="told").by_question
    both, probe, tier = (
        auroc(told.risks[name], rows.wrong).value for name in (find.TOGETHER, find.PROBE, "told")
    )
    assert both > max(probe, tier)
    turned = accuracy(told.risks["another"], rows.wrong)
    assert turned == pytest.approx(accuracy(told.risks["told"], rows.wrong)), "sides are fitted"


def test_an_answer_without_a_score_is_told_by_the_probe_alone() -> None:
    rows = planted()
    gappy = scores(rows)
    gappy[3] = np.nan
    told = find_neurons(
        rows, INFO, labelling="1-vs-1", outside={"told": gappy}, tier="told"
    ).by_question
    for name in ("told", find.TOGETHER):
        assert np.flatnonzero(np.isnan(told.risks[name])).tolist() == [3]
    assert np.isfinite(told.risks[find.PROBE]).all()


def test_noise_is_no_finding() -> None:
    rows = planted(strength=0)
    told = find_neurons(rows, INFO, labelling="1-vs-1").by_question
    assert accuracy(told.risks[find.PROBE], rows.wrong) < 0.65


def test_nothing_tells_a_question_or_a_task_that_it_was_fitted_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = planted(200, per_question=5)
    rows = replace(rows, tasks=np.array([f"t{i // 20 % 4}" for i in range(200)]))
    seen: list[LabelledContributions] = []

    class Spy(fit.Search):
        def __init__(self, rows: LabelledContributions, *given: Any) -> None:
            seen.append(rows)
            super().__init__(rows, *given)

    monkeypatch.setattr(find, "Search", Spy)
    found = find_neurons(rows, INFO, labelling="1-vs-1")
    assert found.by_task is not None
    whole, *parts = seen
    assert len(whole.wrong) == 200
    by_question, by_task = parts[: find.PARTS], parts[find.PARTS :]
    for fold, part in enumerate(by_question):
        held = rows.questions[found.by_question.folds == fold]
        assert held.size
        assert not set(held.tolist()) & set(part.questions.tolist())
    for fold, part in enumerate(by_task):
        held = rows.tasks[found.by_task.folds == fold]
        assert len(set(held.tolist())) == 1
        assert held[0] not in part.tasks
    assert len(by_task) == 4


def test_the_same_seed_finds_the_same() -> None:
    first, second = (find_neurons(planted(), INFO, labelling="1-vs-1", seed=3) for _ in "12")
    assert first.probe == second.probe
    for name, risk in first.by_question.risks.items():
        np.testing.assert_array_equal(risk, second.by_question.risks[name])
