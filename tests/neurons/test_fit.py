"""Fitting a probe: to planted neurons, whatever the unit, and never to too few questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from planted_contributions import INFO, PLANTED, SHAPE, planted
from sklearn.linear_model import LogisticRegression

from energy_guard.errors import InputError
from energy_guard.neurons import (
    Contributions,
    LabelledContributions,
    find_neurons,
    fit,
    fit_probe,
)


@pytest.mark.parametrize("kept", [60, 12])
@pytest.mark.parametrize("columns", [200, 3])
def test_the_least_c_is_the_one_below_which_no_neuron_has_a_weight(kept: int, columns: int) -> None:
    rows = planted(rest=False)
    wrong = np.flatnonzero(rows.wrong)[:kept]
    part = rows.part(np.concatenate([np.flatnonzero(~rows.wrong), wrong]))
    data = fit._Scaled(*part.only(np.arange(columns)).rows("1-vs-1"), 0)
    above, below = (data.fit(step).weights for step in (1.05, 0.95))
    assert 1 <= np.count_nonzero(above) <= 3
    assert not below.any()


@pytest.mark.parametrize("step", fit.STEPS)
def test_a_working_set_gives_the_weights_of_all_neurons(
    step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, wrong = planted(rest=False).rows("1-vs-1")
    whole = fit._Scaled(values, wrong, 0).fit(step)
    monkeypatch.setattr(fit, "_WORKING", 3)
    data = fit._Scaled(values, wrong, 0)
    found = data.fit(step)
    assert len(data._working) < 150
    assert found.c == whole.c
    difference = np.abs(found.log_odds(values) - whole.log_odds(values))
    assert difference.max() < 0.02 * np.abs(whole.log_odds(values)).max()


def test_three_against_one_leaves_out_what_is_high_in_all_of_a_wrong_answer() -> None:
    rows = planted(160, strength=2, everywhere=True)
    one = fit_probe(rows, INFO, labelling="1-vs-1")
    three = fit_probe(rows, INFO, labelling="3-vs-1")

    def share(probe: Any) -> float:
        """How much of both weights the neuron has that is high everywhere."""
        weights = {(n.layer, n.index): n.weight for n in probe.neurons}
        local, broad = (weights.get((n.layer, n.index), 0.0) for n in PLANTED)
        return broad / (local + broad)

    assert share(three) < share(one) - 0.1


def test_all_neurons_with_an_l2_penalty_have_the_weights_of_a_usual_fit() -> None:
    rows = planted(80, rest=False)
    found = fit.Search(rows, "1-vs-1", 0).dense()
    centred = rows.exact - rows.exact.mean(axis=0)
    scale = np.sqrt((centred**2).sum() / len(centred))
    usual = LogisticRegression(C=found.c, class_weight="balanced", tol=1e-8, max_iter=10_000)
    usual.fit(centred / scale, rows.wrong)
    np.testing.assert_allclose(
        found.log_odds(rows.exact), usual.decision_function(centred / scale), atol=1e-3
    )
    assert found.left_out is not None
    assert found.accuracy == pytest.approx(np.mean((found.left_out > 0) == rows.wrong), abs=0.02)


def test_answers_without_a_rest_are_fitted_by_their_exact_part() -> None:
    rows = planted(rest=False)
    values, wrong = rows.rows("3-vs-1")
    assert (len(values), len(wrong)) == (120, 120)
    assert set(fit_probe(rows, INFO, labelling="3-vs-1").h_neurons[:2]) == set(PLANTED)


def test_the_unit_of_contributions_makes_no_difference() -> None:
    small, large = (fit_probe(planted(unit=unit), INFO, labelling="1-vs-1") for unit in (1e-4, 1.0))
    assert small.h_neurons == large.h_neurons
    np.testing.assert_allclose(small.neurons[0].weight * 1e-4, large.neurons[0].weight, rtol=0.01)


def test_a_probe_says_what_it_was_fitted_on() -> None:
    made = fit_probe(planted(rest=False), INFO, labelling="1-vs-1")
    assert (made.model, made.backend, made.shape) == ("00ff", "scripted", SHAPE)
    training = made.training
    assert (training.labelling, training.n, training.n_wrong, training.questions) == (
        *("1-vs-1", 120, 60, 120),
    )
    assert 0.75 < training.accuracy <= 1
    made.check(INFO)


REFUSED: dict[str, tuple[str, Callable[[LabelledContributions], LabelledContributions]]] = {
    "all right": (
        "60 questions with right and 0 with wrong answers",
        lambda rows: rows.part(np.flatnonzero(~rows.wrong)),
    ),
    "all wrong": (
        "0 questions with right and 60 with wrong answers",
        lambda rows: rows.part(np.flatnonzero(rows.wrong)),
    ),
    "too few": (
        "19 questions with right and 19 with wrong answers, and at least 20",
        lambda rows: rows.part(np.arange(38)),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_too_few_questions_of_a_class_are_refused_with_their_counts(name: str) -> None:
    reason, change = REFUSED[name]
    with pytest.raises(InputError, match=rf"{reason}[\s\S]*easier or harder"):
        find_neurons(change(planted()), INFO, labelling="1-vs-1")


def test_many_answers_to_few_questions_are_refused() -> None:
    with pytest.raises(InputError, match="6 questions with right and 6 with wrong"):
        find_neurons(planted(120, per_question=10), INFO, labelling="1-vs-1")


def test_contributions_that_are_all_alike_are_refused() -> None:
    rows = planted(rest=False)
    rows.exact[:] = 0.25
    with pytest.raises(InputError, match="the same to all 120 answers"):
        fit_probe(rows, INFO, labelling="1-vs-1")


def test_a_missing_contribution_is_refused() -> None:
    rows = planted()
    rows.exact[3, 4] = np.nan
    with pytest.raises(InputError, match="missing"):
        find_neurons(rows, INFO, labelling="1-vs-1")


@pytest.mark.parametrize(("labels", "questions"), [(1, 2), (2, 1)])
def test_labels_and_questions_are_one_for_each_answer(labels: int, questions: int) -> None:
    each = Contributions(np.ones(SHAPE, np.float32), None)
    with pytest.raises(InputError, match=f"2 contributions, {labels} labels"):
        LabelledContributions.of([each] * 2, [True] * labels, ["q"] * questions)


def test_no_answers_are_refused() -> None:
    with pytest.raises(InputError, match="0 contributions"):
        LabelledContributions.of([], [], [])
