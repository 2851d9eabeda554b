"""Finding neurons: planted ones are found, noise is no finding, and questions stay apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from energy_guard.backends.base import ModelInfo
from energy_guard.errors import InputError
from energy_guard.estimates.estimate import Estimate
from energy_guard.neurons import (
    Contributions,
    LabelledContributions,
    Neuron,
    find_neurons,
    fit,
    fit_probe,
)

INFO = ModelInfo("tiny", "00ff", backend="scripted")
SHAPE = (4, 50)
PLANTED = (Neuron(1, 7), Neuron(3, 49))


def planted(
    n: int = 120,
    *,
    strength: float = 1.5,
    everywhere: bool = False,
    unit: float = 0.01,
    rest: bool = True,
    per_question: int = 1,
    seed: int = 0,
) -> LabelledContributions:
    """Answers, half of them wrong, whose planted neurons contribute more when they are wrong.

    everywhere: the second of them does so in the whole of a wrong answer.
    """
    random = np.random.default_rng(seed)
    wrong = [bool(i // per_question % 2) for i in range(n)]
    found = []
    for is_wrong in wrong:
        exact, other = random.gamma(4, unit / 2, (2, *SHAPE))
        if is_wrong:
            for neuron in PLANTED:
                exact[neuron.layer, neuron.index] += strength * unit
            if everywhere:
                other[PLANTED[1].layer, PLANTED[1].index] += strength * unit
        each = other.astype(np.float32) if rest else None
        found.append(Contributions(exact.astype(np.float32), each))
    return LabelledContributions.of(found, wrong, [f"q{i // per_question}" for i in range(n)])


@pytest.fixture
def two_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer random neurons than in earnest: each draw takes a second."""
    monkeypatch.setattr(fit, "RANDOM_DRAWS", 2)


def value(measured: object) -> float:
    assert isinstance(measured, Estimate)
    return measured.value


@pytest.mark.parametrize("labelling", ["1-vs-1", "3-vs-1"])
@pytest.mark.usefixtures("two_draws")
def test_planted_neurons_are_found_and_tell_wrong_from_right(labelling: Any) -> None:
    found = find_neurons(planted(), INFO, labelling=labelling)
    assert set(found.probe.h_neurons[:2]) == set(PLANTED)
    assert value(found.judged.accuracy) > 0.75
    assert value(found.judged.auroc) > 0.85
    others = [value(judged.accuracy) for judged in found.random]
    assert len(others) == fit.RANDOM_DRAWS
    assert np.mean(others) < value(found.judged.accuracy) - 0.1


@pytest.mark.parametrize("kept", [60, 12])
@pytest.mark.parametrize("columns", [200, 3])
def test_the_least_c_is_the_one_below_which_no_neuron_has_a_weight(kept: int, columns: int) -> None:
    rows = planted(rest=False)
    wrong = np.flatnonzero(rows.wrong)[:kept]
    part = rows.part(np.concatenate([np.flatnonzero(~rows.wrong), wrong]))
    data = fit._Scaled(*part.rows("1-vs-1"), np.arange(columns), 0)
    above, below = (data.fit(step).weights for step in (1.05, 0.95))
    assert 1 <= np.count_nonzero(above) <= 3
    assert not below.any()


@pytest.mark.parametrize("step", fit.STEPS)
def test_a_working_set_gives_the_weights_of_all_neurons(
    step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, wrong = planted(rest=False).rows("1-vs-1")
    whole = fit._Scaled(values, wrong, np.arange(200), 0).fit(step)
    monkeypatch.setattr(fit, "_WORKING", 3)
    data = fit._Scaled(values, wrong, np.arange(200), 0)
    found = data.fit(step)
    assert len(data._working) < 150
    assert found.c == whole.c
    difference = np.abs(found.log_odds(values) - whole.log_odds(values))
    assert difference.max() < 0.02 * np.abs(whole.log_odds(values)).max()


@pytest.mark.usefixtures("two_draws")
def test_noise_is_no_finding() -> None:
    found = find_neurons(planted(strength=0), INFO, labelling="1-vs-1")
    assert isinstance(found.judged.auroc, Estimate)
    assert found.judged.auroc.low < 0.5 < found.judged.auroc.high


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


def test_answers_without_a_rest_are_fitted_by_their_exact_part() -> None:
    rows = planted(rest=False)
    values, wrong = rows.rows("3-vs-1")
    assert (len(values), len(wrong)) == (120, 120)
    assert set(fit_probe(rows, INFO, labelling="3-vs-1").h_neurons[:2]) == set(PLANTED)


def test_the_unit_of_contributions_makes_no_difference() -> None:
    small, large = (fit_probe(planted(unit=unit), INFO, labelling="1-vs-1") for unit in (1e-4, 1.0))
    assert small.h_neurons == large.h_neurons
    np.testing.assert_allclose(small.neurons[0].weight * 1e-4, large.neurons[0].weight, rtol=0.01)


def test_no_question_is_fitted_and_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, divided = planted(200, per_question=5), fit._divided
    seen: list[tuple[set[str], set[str]]] = []

    def spy(rows: LabelledContributions, *given: Any) -> Any:
        folds = divided(rows, *given)
        for fitting, held in folds[:1] if not seen else folds:
            parts = rows.questions[fitting], rows.questions[held]
            seen.append((set(parts[0].tolist()), set(parts[1].tolist())))
        return folds

    monkeypatch.setattr(fit, "RANDOM_DRAWS", 1)
    monkeypatch.setattr(fit, "_divided", spy)
    found = find_neurons(rows, INFO, labelling="1-vs-1")
    (fitted, judged), *folds = seen
    assert len(fitted | judged) == 40
    assert found.probe.training.questions == len(fitted)
    for fitting, held in [(fitted, judged), *folds]:
        assert held
        assert not fitting & held
    assert all((fitting | held) == fitted for fitting, held in folds), "judged ones play no part"


def test_a_probe_says_what_it_was_fitted_on() -> None:
    made = fit_probe(planted(rest=False), INFO, labelling="1-vs-1")
    assert (made.model, made.backend, made.shape) == ("00ff", "scripted", SHAPE)
    training = made.training
    assert (training.labelling, training.n, training.n_wrong, training.questions) == (
        *("1-vs-1", 120, 60, 120),
    )
    assert 0.75 < training.accuracy <= 1
    made.check(INFO)


@pytest.mark.usefixtures("two_draws")
def test_the_same_seed_finds_the_same() -> None:
    first, second = (find_neurons(planted(), INFO, labelling="1-vs-1", seed=3) for _ in "12")
    assert first == second


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
