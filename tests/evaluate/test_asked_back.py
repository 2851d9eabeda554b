"""An evaluation goes by what a model says of its passages, if it was asked of all of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graded import answered, many

from energy_guard.calibrate.detector import FEATURES
from energy_guard.evaluate.task_arrays import examples, tasks_of
from energy_guard.questions.answered import Answered
from energy_guard.support_features import BY_ASKING, CONFIRMED


def over_passages(n: int) -> list[Answered]:
    found = []
    for number in range(1000, 1000 + n):
        plain = answered(number, number % 2 == 0, 0.3)
        extras = {CONFIRMED: np.full(3, 0.5 if plain.wrong else 1.5)}
        attempt = replace(plain.attempts[0], trace=replace(plain.attempts[0].trace, extras=extras))
        passage = "The mill on Bell Street was built in 1822 by Jonas Reed."
        found.append(replace(plain, task="passages", context=passage, attempts=(attempt,)))
    return found


def test_what_was_asked_of_all_is_fitted_to() -> None:
    tasks = tasks_of([*many(60), *over_passages(40)])
    made = examples(tasks)

    assert made.names == (*FEATURES, *BY_ASKING)
    assert made.values.shape == (100, len(made.names))
    confirmed = made.values[made.tasks == "passages", len(FEATURES)]
    assert set(confirmed.tolist()) == {0.5, 1.5}
    assert not made.values[made.tasks != "passages", len(FEATURES) :].any()


@pytest.mark.parametrize("measured", [False, True])
def test_what_was_asked_of_none_or_of_some_is_not(measured: bool) -> None:
    passages = over_passages(10) if measured else []
    plain = replace(answered(1, True, 0.3), task="passages", context="Jonas Reed built the mill.")
    made = examples(tasks_of([*many(60), *passages, plain]))

    assert made.names == FEATURES
    assert len(made.wrong) == 61 + len(passages)


def test_nothing_makes_no_tasks() -> None:
    assert tasks_of([]) == []
