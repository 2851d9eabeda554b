"""The paper's table from stored answers."""

from __future__ import annotations

import random

import pytest

from energy_guard.decide import Attempt
from energy_guard.energy import Row
from energy_guard.locate import Span
from energy_guard.questions.answered import Answered
from energy_guard.report.plots import localising_plot
from energy_guard.report.reproduced import spilled_energy_sheets
from energy_guard.reproduce.spilled_energy import spilled_energy_figures
from energy_guard.score import Unscored
from energy_guard.trace import Step, Trace

MADE_WITH = {"model": {"name": "tiny", "fingerprint": "00ff", "backend": "scripted"}}


def answered(task: str, number: int, *, wrong: bool, outcome: str = "") -> Answered:
    """The first token is noise, the second is the answer: doubted if it is wrong."""
    dice = random.Random(f"{task} {number}")
    noise, doubt = dice.uniform(0, 3), dice.uniform(0.1, 1) + wrong
    rows = [Row(9.0, 0.0, 0.1, 1.0)] * 3
    steps = [Step(1, b"So ", 9.0 - noise, rows[0]), Step(2, b"Rome", 9.0 - doubt, rows[1])]
    trace = Trace.from_steps(steps, last_row=rows[2], finish_reason="eos")
    attempt = Attempt(trace, Span((1,), "Rome"), Unscored("not yet"))
    return Answered(
        f"{task}-{number}", task, f"{task} {number}?", None, (), True,
        outcome or ("wrong" if wrong else "right"), (attempt,),
    )  # type: ignore[arg-type]  # fmt: skip


def answers(task: str, n: int) -> list[Answered]:
    return [answered(task, number, wrong=number % 2 == 0) for number in range(n)]


def test_localising_gains_what_the_rest_of_the_answer_hides() -> None:
    figures = spilled_energy_figures([*answers("a", 80), *answers("b", 80)], MADE_WITH)
    by_name = {f"{each['signal']}:{each['pooling']}": each for each in figures["signals"]}
    spilled = by_name["spilled_energy:max"]
    assert spilled["exact_mean"]["value"] == 1.0
    assert spilled["whole_mean"]["value"] == pytest.approx(0.7, abs=0.15)
    gain, low = spilled["gain"]["value"], spilled["gain"]["low"]
    assert gain == pytest.approx(1.0 - spilled["whole_mean"]["value"]) and low > 0.1
    assert spilled["riskier"] == "high"
    assert figures["tasks"] == {"a": [80, 40], "b": [80, 40]}
    assert figures["counted"] == ["a", "b"]


def test_tasks_with_few_of_a_class_do_not_count_if_others_have_enough() -> None:
    figures = spilled_energy_figures([*answers("a", 80), *answers("few", 10)], MADE_WITH)
    assert figures["counted"] == ["a"]
    assert "few" in figures["signals"][0]["exact"]


def test_means_of_few_answers_say_that_they_are() -> None:
    figures = spilled_energy_figures(answers("few", 10), MADE_WITH)
    assert figures["counted"] == ["few"]
    assert "only 5 answers" in figures["signals"][0]["exact_mean"]["note"]


def test_unsure_and_refused_answers_stand_in_no_figure() -> None:
    some = answers("a", 80)
    outcomes = enumerate(("unsure", "refused"), 100)
    others = [answered("a", number, wrong=True, outcome=outcome) for number, outcome in outcomes]
    figures = spilled_energy_figures([*some, *others], MADE_WITH)
    assert figures == spilled_energy_figures(some, MADE_WITH)


def test_the_tables_have_every_signal_and_the_papers_figure() -> None:
    figures = spilled_energy_figures(answers("a", 80), MADE_WITH)
    means, by_task = spilled_energy_sheets(figures)
    assert len(means.rows) == len(by_task.rows) == 9 * 5
    assert "73.3 localised, 49.3 not" in means.note
    assert by_task.headings == ("signal:pooling", "a")
    assert "exact answer" in localising_plot(figures)


def test_without_a_task_of_two_classes_there_are_reasons_and_no_numbers() -> None:
    right = [answered("a", number, wrong=False) for number in range(5)]
    figures = spilled_energy_figures(right, MADE_WITH)
    assert figures["signals"][0]["exact_mean"]["value"] is None
    assert "no task" in spilled_energy_sheets(figures)[0].note
    assert localising_plot(figures)
