"""The numbers behind an evaluation: what is drawn together, held out, left out."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score

from energy_guard.backends import Scripted
from energy_guard.calibrate.detector import folds_of
from energy_guard.cli import evaluate as module
from energy_guard.decide import Attempt
from energy_guard.energy import Bools, Floats, Row
from energy_guard.errors import InputError, MissingExtraError
from energy_guard.estimates.confidence_targets import Graded
from energy_guard.estimates.estimate import Estimate, NotDefined
from energy_guard.estimates.ranking import auroc
from energy_guard.evaluate.figures import guard_figures
from energy_guard.evaluate.folds import p_wrong
from energy_guard.evaluate.paired_auroc import (
    CHOSEN,
    USUAL,
    Aurocs,
    aurocs,
    mean_auroc,
    with_chosen,
)
from energy_guard.evaluate.references.ask_again import agreement, p_true
from energy_guard.evaluate.summary import summarise
from energy_guard.evaluate.task_arrays import PARTS, SINGLES, examples, tasks_of
from energy_guard.features import features
from energy_guard.locate import Located, NothingToCheck, NotLocated, Span, whole
from energy_guard.profile import Profile
from energy_guard.questions.answered import Answered
from energy_guard.questions.rows import Question
from energy_guard.report.evaluation import evaluation_view
from energy_guard.score import Detector, Score, Unscored
from energy_guard.trace import Step, Trace


def trace(nlls: Sequence[float]) -> Trace:
    rows = [Row(9.0 + t, 0.1 * t, 0.3 + nll / 9, 1.0) for t, nll in enumerate([*nlls, 0.0])]
    steps = [
        Step(t, f" w{t}".encode(), row.log_partition - nll, row)
        for t, (row, nll) in enumerate(zip(rows, nlls, strict=False))
    ]
    return Trace.from_steps(steps, rows[-1])


def answer(name: str, outcome: Any, nlls: Sequence[float] = (0.5, 0.1), **other: Any) -> Answered:
    made = trace(nlls)
    located: Located = other.pop("located", Span(tuple(range(len(nlls))), "w"))
    attempts = (Attempt(made, located, Unscored("")),) * other.pop("attempts", 1)
    settings: dict[str, Any] = {"context": None, "choices": (), "answerable": True} | other
    task = settings.pop("task", "t")
    return Answered(name, task, f"{name}?", outcome=outcome, attempts=attempts, **settings)


def mixed(n: int = 80, seed: int = 0, task: str = "t") -> list[Answered]:
    rng = np.random.default_rng(seed)
    made = []
    for number in range(n):
        wrong = rng.random() < 0.5
        nlls = rng.exponential(1.5 if wrong else 0.5, size=int(rng.integers(1, 5))).tolist()
        made.append(answer(f"{task}{number}", "wrong" if wrong else "right", nlls, task=task))
    return made


def test_drawn_together_the_numbers_are_those_of_one_by_one() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(120) < 0.4
    risks = {name: np.round(rng.normal(size=120) + wrong, 1) for name in "abc"}
    together = aurocs(risks, wrong)
    for name, risk in risks.items():
        found, alone = together.measured(name), auroc(risk, wrong)
        assert isinstance(found, Estimate) and isinstance(alone, Estimate)
        assert (found.value, found.low, found.high) == pytest.approx(
            (alone.value, alone.low, alone.high), abs=1e-12
        )
    gain = mean_auroc([together], "a", other="b")
    draws = together.draws["a"] - together.draws["b"]
    assert isinstance(gain, Estimate)
    assert (gain.low, gain.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1e-12)


def separated(n: int, distance: float, seed: int = 0) -> tuple[Floats, Bools]:
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < 0.4
    return rng.normal(size=n) + distance * wrong, wrong


def gain_of(*tasks: tuple[Floats, Floats, Bools]) -> Estimate:
    """How far the first risk of each task is above its second one, by mean AUROC."""
    made = mean_auroc([aurocs({"a": a, "b": b}, wrong) for a, b, wrong in tasks], "a", other="b")
    assert isinstance(made, Estimate)
    return made


def test_a_gain_is_paired() -> None:
    """Noise that both share cancels: the interval is far shorter than that of two AUROCs."""
    baseline, wrong = separated(300, 1.0)
    better = baseline + 0.3 * wrong + np.random.default_rng(1).normal(0, 0.05, 300)
    gain, alone = gain_of((better, baseline, wrong)), auroc(better, wrong)
    expected = roc_auc_score(wrong, better) - roc_auc_score(wrong, baseline)
    assert gain.value == pytest.approx(expected)
    assert gain.low > 0
    assert isinstance(alone, Estimate)
    assert gain.high - gain.low < (alone.high - alone.low) / 3


def test_a_gain_is_the_mean_over_tasks() -> None:
    tasks = []
    for seed, n in enumerate((80, 400, 150)):
        risk, wrong = separated(n, 1.5, seed)
        tasks.append((risk, risk + np.random.default_rng(seed + 9).normal(0, 1, n), wrong))
    each = [roc_auc_score(wrong, a) - roc_auc_score(wrong, b) for a, b, wrong in tasks]
    made = gain_of(*tasks)
    assert (made.value, made.n) == (pytest.approx(np.mean(each)), 630)
    widths = [single.high - single.low for single in map(gain_of, tasks)]
    assert made.high - made.low == pytest.approx(math.hypot(*widths) / 3, rel=0.1)


def test_a_gain_on_two_wrong_answers_still_has_both_in_each_resample() -> None:
    risk, _ = separated(40, 1.0)
    assert "only 2 answers" in gain_of((risk, -risk, np.arange(40) < 2)).note


def test_no_gain_over_oneself() -> None:
    risk, wrong = separated(60, 1.0)
    made = gain_of((risk, np.exp(risk), wrong))
    assert (made.value, made.low, made.high) == (0, 0, 0)


def test_without_tasks_there_is_no_gain() -> None:
    assert isinstance(mean_auroc([], "a", other="b"), NotDefined)


def test_the_single_signal_to_beat_is_chosen_on_other_tasks() -> None:
    wrong = np.arange(80) % 2 == 0
    rng = np.random.default_rng(0)

    def ranking(good: str) -> Aurocs:
        risks = {f"{part}.{single}": rng.normal(size=80) for part in PARTS for single in SINGLES}
        return aurocs({**risks, good: wrong + 0.1 * rng.normal(size=80)}, wrong)

    odd, *same = (ranking(name) for name in ("answer.margin:min", *["span.nll:mean"] * 3))
    odd_one, *others = with_chosen([odd, *same])
    assert odd_one.values[CHOSEN] == odd.values["span.nll:mean"] < 0.7, "not its own best one"
    assert [other.values[CHOSEN] for other in others] == [1.0, 1.0, 1.0]
    assert odd_one.measured(CHOSEN) == odd.measured("span.nll:mean")
    assert CHOSEN not in with_chosen([odd])[0].values, "there is no other task"


def test_a_risk_with_a_gap_has_no_auroc() -> None:
    wrong = np.array([True, False, True, False])
    together = aurocs({"a": np.array([1.0, 0.0, math.nan, 0.0])}, wrong)
    found = together.measured("a")
    assert isinstance(found, NotDefined)
    assert "1 of 4 answers" in found.reason
    assert isinstance(mean_auroc([], "a"), NotDefined)


def test_features_and_singles_are_those_of_detectors() -> None:
    one = answer("a", "wrong", [0.2, 2.0, 0.7], located=Span((1, 2), "w"))
    task = tasks_of([one])[0]
    for name in SINGLES:
        score = Detector.parse(name).score(one.trace, one.located)
        assert isinstance(score, Score)
        assert task.single(name)[0] == score.value
        assert isinstance(one.located, Span)
        feature = features(one.trace, one.located, [f"answer.{name}"])[0]
        assert task.feature(f"answer.{name}")[0] == feature


def test_log_probabilities_leave_what_needs_no_energies() -> None:
    answers = [answer(str(n), "wrong" if n % 2 else "right") for n in range(4)]
    flat = [
        replace(a, attempts=(Attempt(_normalised(), a.located, Unscored("")),)) for a in answers
    ]
    found = summarise(flat)["tasks"]["t"]["auroc"]
    assert found["span.nll:max"]["value"] == 0.5
    assert found["span.spilled_energy:max"]["value"] is None


def _normalised() -> Trace:
    row = Row(0.0, -9.0, 0.1, 1.0)
    return Trace.from_steps([Step(0, b"a", -0.1, row), Step(1, b"b", -0.2, row)], row)


def test_p_wrong_sees_no_label_of_its_own_fold() -> None:
    rng = np.random.default_rng(1)
    tasks = tasks_of(mixed(100))
    wrong = tasks[0].wrong
    risk = rng.normal(size=100) + wrong
    noise = p_wrong(rng.normal(size=100), tasks)
    known = np.isfinite(noise)
    found = auroc(noise[known], wrong[known])
    assert isinstance(found, Estimate)
    assert found.value < 0.65
    p = p_wrong(np.where(np.arange(100) == 7, math.nan, risk), tasks)
    assert math.isnan(p[7])
    assert np.isnan(p).sum() < 12, "outside the range of the other folds there is none"


def test_unsure_answers_are_counted_and_stand_in_no_other_figure() -> None:
    answers = mixed(40)
    unsure = [answer(f"u{n}", "unsure", [9.0]) for n in range(10)]
    with_them, without = summarise([*answers, *unsure]), summarise(answers)
    task = with_them["tasks"]["t"]
    assert (task["outcomes"].pop("unsure"), with_them["outcomes"]["unsure"]) == (10, 10)
    assert without["tasks"]["t"]["outcomes"].pop("unsure") == 0
    assert task == without["tasks"]["t"]
    assert with_them["pooled"] == without["pooled"]


def test_answers_that_the_model_declined_are_counted_apart() -> None:
    answers = [
        *mixed(40),
        answer("refused", "refused"),
        answer("declined", "right", answerable=False),
        answer("not found", "wrong", located=NotLocated("empty")),
    ]
    results = summarise(answers)
    task = results["tasks"]["t"]
    assert (task["outcomes"]["refused"], task["outcomes"]["declined"]) == (1, 1)
    assert task["not_located"] == 1
    assert task["ranked"] == 40
    right = task["outcomes"]["right"]
    always = results["pooled"]["one_for_all"]["targets"][0]["always"]
    assert always["value"] == pytest.approx(right / 43)
    assert results["n"] == 43


def test_one_question_under_two_names_is_never_learnt_from_to_score_itself() -> None:
    """Its copy in another task is left out, and in its own task it is in the same fold."""
    first, second = mixed(60, 0, "a"), mixed(60, 1, "b")
    copies = [replace(a, id=f"copy{a.id}", task="b") for a in first[:20]]
    shouted = [replace(a, id=f"loud{a.id}", question=a.question.upper()) for a in first[:20]]
    one, other = tasks_of([*first, *shouted, *second, *copies])
    assert [a.id for a in other.without(one).answers] == [a.id for a in second]
    assert len(other.without(one).values) == 60
    folds = folds_of(examples([one]))
    assert (folds[:20] == folds[60:]).all()
    assert len(set(folds)) == 5


def test_out_of_domain_needs_two_other_tasks() -> None:
    answers = [a for seed, name in enumerate("abc") for a in mixed(80, seed, name)]
    results = summarise(answers)
    assert results["means"]["tasks"] == ["a", "b", "c"]
    assert set(results["means"]["gain"]) == {"fitted in domain", "fitted out of domain"}
    best = results["means"]["best_singles"]
    assert all(
        list(of) == [*dict.fromkeys([USUAL, *best, CHOSEN])]
        for of in results["means"]["gain"].values()
    )
    assert results["means"]["auroc"]["fitted out of domain"]["value"] > 0.6
    assert "gain" in results["localisation"][0]
    assert summarise(answers) == results, "the same every time"


def test_too_few_of_a_class_to_fit() -> None:
    results = summarise([answer(str(n), "wrong" if n else "right") for n in range(30)])
    assert "reason" in results["pooled"]
    assert results["means"]["tasks"] == []
    assert results["tasks"]["t"]["guard"]["reason"].startswith("fewer than 10")
    assert results["tasks"]["t"]["auroc"]["span.nll:max"]["value"] == 0.5


def test_answers_after_retries_are_refused() -> None:
    with pytest.raises(InputError, match="retries"):
        summarise([answer("a", "right", attempts=2)])


def test_a_guard_without_a_probability_withholds() -> None:
    right = np.array([True, True, False, False])
    found = guard_figures(Graded(right, ~right), np.array([0.1, math.nan, 0.2, math.nan]))
    assert found["without_p_wrong"] == 2
    assert found["targets"][0]["coverage"]["value"] == 0.5
    assert found["coverage_at_risk"]["0.1"]["value"] == 0.25
    assert found["risk_coverage"][-1][:2] == [0.5, 0.5]


def test_nothing_is_cut_off_in_a_narrow_terminal() -> None:
    results = summarise(mixed()) | {"made_with": {}, "too_long": {}}
    wide, narrow = (Console(width=width, record=True, file=io.StringIO()) for width in (300, 80))
    for console in (wide, narrow):
        console.print(evaluation_view(results))
    words = set(wide.export_text().split())
    assert {word for word in words if word[0] in "0(+-"} <= set(narrow.export_text().split())


def test_p_true_is_the_share_of_true() -> None:
    row = Question("a", "t", "Which city?", ("Oslo",))
    backend = Scripted.saying([("True", 0.6)], [("False", 0.2)])
    with backend.session() as session:
        assert p_true(session, row, answer="Oslo") == pytest.approx(0.75, abs=1e-6)


def test_agreement_is_by_normalised_words() -> None:
    row = Question("a", "t", "Which city?", ("Oslo",))
    samples = [[(text, 0.9)] for text in ("Oslo", "oslo", "Oslo.", "Bergen", "The Oslo")]
    given = answer("a", "right", located=Span((0, 1), "Oslo"))
    with Scripted.saying(*samples).session() as session:
        assert agreement(session, row, answered=given, locate=whole) == 0.8


def test_a_missing_extra_is_said_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text('{"id": "a", "question": "q?", "answers": ["x"]}')
    monkeypatch.setattr(module.EngineOptions, "open", lambda _: pytest.fail("a model was loaded"))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"energy-guard\[eval\]"):
        module.evaluate([data], out=tmp_path / "out")


def test_a_stored_profile_is_tried_as_it_is() -> None:
    calibration = {"slope": 1.0, "intercept": 0.0, "n": 98, "n_wrong": 40}
    profile = Profile(
        model="00ff",
        backend="scripted",
        mode="chat",
        detector="nll:max",
        locator="whole",
        calibration=calibration | {"lowest": 0.0, "highest": 3.0},  # type: ignore[arg-type]
        abstain=0.7,
        system_prompt="Be brief.",
    )
    chat = answer("y", "wrong", located=NothingToCheck("small talk"))
    answers = [*mixed(60), *mixed(40, seed=1, task="u"), answer("x", "refused", [0.1]), chat]
    found = summarise(answers, profile=profile)["profile"]
    assert list(found["rows"]) == ["all tasks", "t", "u"]
    for name, row in found["rows"].items():
        mine = [a for a in answers if name in ("all tasks", a.task)]
        worst = [a.trace.nll.max() for a in mine]
        shown = [
            a
            for a, nll in zip(mine, worst, strict=True)
            if (nll <= 3 and 1 / (1 + math.exp(-nll)) < 0.7 and a.outcome != "refused") or a is chat
        ]
        wrong = sum(a.outcome == "wrong" for a in shown)
        assert row["n"] == len(mine)
        assert row["coverage"]["value"] == pytest.approx(len(shown) / len(mine))
        assert row["risk"]["value"] == pytest.approx(wrong / len(shown))
        assert 0.5 < row["auroc"]["value"] < 1
    page = io.StringIO()
    results = summarise(answers, profile=profile) | {"made_with": {}, "too_long": {}}
    Console(file=page, width=200).print(evaluation_view(results))
    assert "The profile as it is" in page.getvalue()
    said = " ".join(page.getvalue().split())
    assert "Mind: the profile was made with another system prompt." in said
    assert summarise(answers)["profile"] is None
