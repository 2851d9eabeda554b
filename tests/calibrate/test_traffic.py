"""From logs of answers that nobody graded to a profile for there: what counts, what comes out."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from energy_guard import Guard, Policy, Profile
from energy_guard.backends import Scripted
from energy_guard.calibrate.certify import Labelled, certify
from energy_guard.calibrate.traffic import (
    FEWEST,
    Gathered,
    Seen,
    base_of,
    check_start,
    gather,
    models_in,
    relevelled,
)
from energy_guard.errors import InputError
from energy_guard.log import TraceLog
from energy_guard.profile import Certificate
from energy_guard.questions.answered import AnswerFile
from energy_guard.questions.ask import collect
from energy_guard.questions.labels import Label, digest_of
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import Wording, alike
from energy_guard.request import Message, Request

SYSTEM = "Be brief."
WORDS = [f"Word{n}" for n in range(80)]
CURVE = {"slope": 1, "intercept": 0, "n": 98, "n_wrong": 40, "lowest": -1, "highest": 9}


def backend(words: Sequence[str], p: float | Sequence[float] = 0.9) -> Scripted:
    """One answer after the other, each a word; the vocabulary, and so the model, is the same."""
    each = [p] * len(words) if isinstance(p, float) else p
    every = [[(word, 0.9) for word in WORDS] + [("I don't know", 0.9), ("more", 0.9)]]
    return Scripted.saying(*[[(w, q)] for w, q in zip(words, each, strict=True)], *every)


def profile(**changes: Any) -> Profile:
    values: dict[str, Any] = {
        "model": backend([]).info.fingerprint,
        "backend": "scripted",
        "mode": "chat",
        "detector": "nll:max",
        "locator": "whole",
        "system_prompt": SYSTEM,
        "calibration": CURVE,
    }
    return Profile(**values | changes)


def asked(question: str, system: str | None = SYSTEM) -> Request:
    said = [] if system is None else [Message("system", system)]
    return Request.chat([*said, Message("user", question)])


def logged(
    path: Path,
    words: Sequence[str],
    p: float | Sequence[float] = 0.9,
    *,
    system: str | None = SYSTEM,
    **guard: Any,
) -> Path:
    """A log of answers to a question each."""
    settings: dict[str, Any] = {"locator": "whole", "detector": "nll:max", "profile": None}
    log = TraceLog(path, texts=guard.pop("texts", True))
    judging = Guard(backend(words, p), **settings | guard, log=log)
    for number, _ in enumerate(words):
        judging.ask(asked(f"Which is number {number}?", system))
    return path


def read(*paths: Path, start: Profile | None = None, **more: Any) -> Gathered:
    return gather(paths, start or profile(), **{"system": None, "labels": {}} | more)


def label(question: str, answer: str, said: Any) -> dict[str, Label]:
    digest = digest_of(question, None, (), answer)
    values = {"id": "1", "digest": digest, "label": said, "labeller": "me", "time": "", "pass": 1}
    return {digest: Label(schema=1, **values)}


# What counts.


def test_answers_of_a_log_have_the_p_wrong_that_the_profile_gives(tmp_path: Path) -> None:
    path = logged(tmp_path / "log.jsonl", WORDS[:3], [0.9, 0.5, 0.2])
    found = read(path)
    curve = profile().calibration
    expected = [curve.p_wrong(-np.log(p)) for p in (0.9, 0.5, 0.2)]
    assert found.p_wrong == pytest.approx(expected, rel=1e-5)
    assert (found.left_out, found.unknown) == ({}, 0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "00ff"}, "of another model"),
        ({"backend": "llama-cpp"}, "of another engine"),
        ({"mode": "raw"}, "asked in another mode (chat or raw)"),
        ({"locator": "first-line"}, "located by another locator"),
        ({"scoring": "fast"}, "scored in another way (fast or token by token)"),
        ({"system_prompt": "Other."}, "asked with another system prompt"),
        (
            {"calibration": CURVE | {"highest": 0.01}},
            "unlike all that the profile was made from",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_the_profile_is_not_for_is_counted_and_left_out(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    path = logged(tmp_path / "log.jsonl", WORDS[:4])
    found = read(path, start=profile(**changes))
    assert found.seen == ()
    assert found.left_out == {reason: 4}


def test_the_system_prompt_that_is_asked_for_counts_in_place_of_the_profiles(
    tmp_path: Path,
) -> None:
    mine = logged(tmp_path / "mine.jsonl", WORDS[:3], system="Mine.")
    none = logged(tmp_path / "none.jsonl", WORDS[3:5], system=None)
    assert len(read(mine, none, system="Mine.").seen) == 3
    assert len(read(mine, none, system="").seen) == 2
    assert read(mine, none).left_out == {"asked with another system prompt": 5}


def test_a_refusal_a_second_mention_and_an_answer_without_a_score_are_left_out(
    tmp_path: Path,
) -> None:
    path = logged(tmp_path / "log.jsonl", ["Word1", "I don't know", "Word2"])
    cut = tmp_path / "cut.jsonl"
    line = json.loads(path.read_text().splitlines()[2])
    line["question"] = "Another?"
    line["trace"]["finish_reason"] = "cancelled"
    cut.write_text(json.dumps(line) + "\n")
    found = read(path, path, cut)
    assert len(found.seen) == 2
    assert found.left_out == {
        "the same answer to the same question once more": 2,
        "the model said that it does not know": 2,
        "without a score": 1,
    }


def test_the_same_answer_of_another_model_does_not_stand_in_the_way(tmp_path: Path) -> None:
    path = logged(tmp_path / "log.jsonl", WORDS[:2])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["result"]["model"]["fingerprint"] = "00ff"
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join(map(json.dumps, lines)))
    found = read(other, path)
    assert (len(found.seen), found.left_out) == (2, {"of another model": 2})


def test_an_answer_that_was_chosen_among_several_is_left_out(tmp_path: Path) -> None:
    """The least risky of several is no answer as the model gives them."""
    policy = Policy(detector="nll:max", warn=0.5, abstain=1.0, retries=1)
    guard = Guard(
        backend(["Word1", "Word2"], [0.1, 0.9]),
        policy,
        locator="whole",
        detector="nll:max",
        log=TraceLog(tmp_path / "log.jsonl"),
    )
    assert len(guard.ask(asked("Which?")).attempts) == 2
    assert read(tmp_path / "log.jsonl").left_out == {
        "chosen among several attempts, or stopped early": 1
    }


def test_a_private_log_counts_and_says_that_its_system_prompt_is_not_known(tmp_path: Path) -> None:
    found = read(logged(tmp_path / "log.jsonl", WORDS[:3], texts=False))
    assert (len(found.seen), found.unknown) == (3, 3)


def test_the_models_of_logs_are_found_without_loading_one(tmp_path: Path) -> None:
    path = logged(tmp_path / "log.jsonl", WORDS[:3])
    assert [info.fingerprint for info in models_in([path, path])] == [profile().model]


# Files of answers.


def answer_file(path: Path, words: Sequence[str], **changes: Any) -> Path:
    rows = [
        Question(str(n), "t", f"Which is number {n}?", (word if n % 2 else "none",))
        for n, word in enumerate(words)
    ]
    guard = Guard(backend(words), locator="whole", detector="nll:max", profile=None)
    answers = collect(guard, rows, path=path, wordings=alike(Wording(SYSTEM, (), 8)))
    if changes:
        made_with = json.loads(path.read_text().splitlines()[0])["made_with"]
        path.unlink()
        file = AnswerFile(path, made_with | changes)
        file.start()
        for answered in answers:
            file.append(answered)
    return path


def test_answers_of_an_evaluation_count_without_their_grades(tmp_path: Path) -> None:
    path = answer_file(tmp_path / "answers.jsonl", WORDS[:4])
    found = read(path)
    assert len(found.seen) == 4 and found.told is None
    assert {each.label for each in found.seen} == {None}


@pytest.mark.parametrize(
    ("made_with", "reason"),
    [
        ({"wording": "Other."}, "asked with another system prompt"),
        ({"wording": "one for each kind"}, "asked with another system prompt"),
        ({"rule": "Answer only if sure."}, "asked with another system prompt"),
        ({"retries": 2}, "chosen among several attempts, or stopped early"),
        ({"early_stop": {"window": 8, "risk": 3}}, "chosen among several attempts, or stopped"),
        ({"locator": "automatic"}, "located by another locator"),
        ({"mode": "raw"}, "asked in another mode (chat or raw)"),
    ],
)
def test_answers_of_an_evaluation_that_were_asked_otherwise_are_left_out(
    made_with: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    found = read(answer_file(tmp_path / "answers.jsonl", WORDS[:4], **made_with))
    assert found.seen == ()
    assert [(said.startswith(reason), n) for said, n in found.left_out.items()] == [(True, 4)]


def test_each_kind_of_question_has_the_system_prompt_of_its_wording(tmp_path: Path) -> None:
    path = answer_file(tmp_path / "answers.jsonl", WORDS[:4], wording="one for each kind")
    assert len(read(path, system="Answer the question with as few words as possible.").seen) == 4


# Labels.


def test_a_label_is_found_by_question_and_answer(tmp_path: Path) -> None:
    path = logged(tmp_path / "log.jsonl", WORDS[:3])
    mine = label("Which is number 1?", "Word1", "wrong") | label("Which?", "Word1", "right")
    found = read(path, labels=mine)
    assert [each.label for each in found.seen] == [None, "wrong", None]
    assert found.labels_used == 1
    assert found.told is not None and found.told.wrong.tolist() == [True]


def test_a_label_in_the_log_itself_counts_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    path = logged(tmp_path / "log.jsonl", WORDS[:2])
    lines = [json.loads(line) | {"label": "right"} for line in path.read_text().splitlines()]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = read(path, labels=label("Which is number 1?", "Word1", "wrong"))
    assert [each.label for each in found.seen] == ["right", "wrong"]


@pytest.mark.parametrize(("said", "counts"), [("unsure", 3), ("refused", 2)])
def test_what_a_person_is_unsure_of_has_no_label_and_what_was_refused_is_left_out(
    said: str, counts: int, tmp_path: Path
) -> None:
    path = logged(tmp_path / "log.jsonl", WORDS[:3])
    found = read(path, labels=label("Which is number 1?", "Word1", said))
    assert len(found.seen) == counts and found.told is None


def test_labels_that_go_by_the_grade_stand_for_the_answers_of_that_grade() -> None:
    """Ten of each grade are labelled, of which one is a tenth of all: they do not count alike."""
    rows = [Seen(0.5, grade="right")] * 80 + [Seen(0.5, grade="wrong")] * 20
    rows += [Seen(0.5, "right", "right")] * 10 + [Seen(0.5, "wrong", "wrong")] * 10
    told = Gathered(tuple(rows), {}, 0, 20).told
    assert told is not None
    assert told.weight.sum() == pytest.approx(20)
    assert (told.weight @ told.wrong) / told.weight.sum() == pytest.approx(30 / 120)


# The profile that comes out.


def gathered(p_wrong: Sequence[float], **labels: Any) -> Gathered:
    return Gathered(tuple(Seen(p) for p in p_wrong), {}, 0, 0)


def test_the_new_profile_is_at_the_new_level_and_promises_nothing() -> None:
    looked = certificate()
    start = profile(certificates=[looked])
    made = relevelled(start, gathered([0.8] * 100), system="Mine.")
    after = made.profile
    assert (after.p_wrong_from, after.certificates, after.system_prompt) == ("traffic", (), "Mine.")
    assert after.traffic is not None
    assert (after.traffic.answers, after.traffic.labelled) == (100, 0)
    assert after.traffic.start == start.basis
    moved = after.calibration.p_wrong(np.log(4))
    assert moved == pytest.approx(made.shift.share.value), "0.8 was P(wrong) of this score"
    assert moved is not None and moved > 0.8
    assert after.promise(after.policy()) is None
    assert start.p_wrong_from == "profile" and start.calibration.p_wrong(np.log(4)) < moved


def test_the_base_of_curves_that_were_raised_since_is_raised_by_as_much() -> None:
    """What a profile from the quiz is right for is other people's questions, not the quiz."""
    start = profile()
    raised = start.model_copy(update={"elsewhere": 0.5})
    before, after = base_of(start), base_of(raised)
    assert math.log(after / (1 - after)) == pytest.approx(math.log(before / (1 - before)) + 0.5)
    flatter = base_of(raised.model_copy(update={"elsewhere_slope": 0.8}))
    assert math.log(flatter / (1 - flatter)) == pytest.approx(
        math.log(before / (1 - before)) * 0.8 + 0.5
    )


def test_both_curves_move_by_the_same_log_odds() -> None:
    whole = {"knots": [(0.0, 0.2), (3.0, 0.8)], "n": 40, "n_wrong": 30, "lowest": 0, "highest": 3}
    start = profile(whole_answer=whole)
    assert base_of(start) == pytest.approx((40 + 30) / (98 + 40))
    made = relevelled(start, gathered([0.8] * 100), system=None).profile
    assert made.calibration.intercept is not None and made.whole_answer is not None
    by = made.calibration.intercept - 0.0
    odds = [np.log(p / (1 - p)) for _, p in made.whole_answer.knots]
    assert odds == pytest.approx([np.log(0.25) + by, np.log(4) + by])
    assert made.whole_answer.knots[0][0] == 0.0


def test_how_many_are_shown_is_counted_at_the_profiles_limit() -> None:
    made = relevelled(profile(), gathered([0.05] * 10 + [0.49] * 30 + [0.9] * 60), system=None)
    assert (made.shown_before, made.shown_after) == (40, 10)


def test_too_few_answers_are_refused_with_the_number_that_is_needed() -> None:
    few = replace(gathered([0.5] * (FEWEST - 1)), left_out={"of another model": 7})
    with pytest.raises(InputError, match=f"at least {FEWEST} are needed") as refused:
        relevelled(profile(), few, system=None)
    assert "1 more" in refused.value.hint and "7 of another model" in refused.value.hint
    enough = gathered([0.5] * FEWEST)
    assert relevelled(profile(), enough, system=None).shift.share.n == FEWEST


def test_a_score_that_tells_nothing_needs_labels() -> None:
    flat = profile(calibration=CURVE | {"slope": 0})
    with pytest.raises(InputError, match="scores alone say nothing"):
        relevelled(flat, gathered([0.4] * 60), system=None)
    rows = gathered([0.4] * 60).seen + (Seen(0.4, "wrong"),) * 20
    made = relevelled(flat, Gathered(rows, {}, 0, 20), system=None)
    assert made.shift.share.value > 0.6


def test_a_profile_from_traffic_is_no_start_for_another_one() -> None:
    made = relevelled(profile(), gathered([0.8] * 100), system=None).profile
    with pytest.raises(InputError, match="moved to the level of logged answers before"):
        relevelled(made, gathered([0.8] * 100), system=None)


def test_a_profile_of_several_attempts_is_no_start() -> None:
    with pytest.raises(InputError, match="tries again"):
        check_start(profile(retries=1))


def certificate() -> Certificate:
    data = Labelled([str(n) for n in range(200)], np.full(200, 0.2), np.zeros(200, dtype=bool))
    basis = profile().basis
    return certify(data, [0.5], max_risk=0.1, confidence=0.95, basis=basis)


# Using it.


def test_what_a_profile_from_traffic_says_is_marked_as_no_calibrated_probability(
    tmp_path: Path,
) -> None:
    made = relevelled(profile(), gathered([0.3] * 100), system=None).profile
    path = tmp_path / "p.json"
    path.write_text(made.model_dump_json(by_alias=True))
    assert json.loads(path.read_text())["p_wrong_from"] == "traffic"
    used = Profile.read(path)
    assert used == made
    result = Guard(backend(["Word1"]), profile=used).ask(asked("Which?"))
    assert result.p_wrong is not None
    assert (result.p_wrong_from, result.calibrated, result.promise) == ("traffic", False, None)
    note = "the level of P(wrong) was estimated from 100 answers, none of them labelled"
    assert note in result.notes
    some = made.traffic.model_copy(update={"labelled": 40}) if made.traffic else None
    used = made.model_copy(update={"traffic": some})
    graded = Guard(backend(["Word1"]), profile=used).ask(asked("Which?"))
    assert note.replace("none", "40") in graded.notes


def test_other_profiles_are_written_as_before() -> None:
    written = json.loads(profile().model_dump_json(by_alias=True))
    assert "p_wrong_from" not in written and "traffic" not in written


@pytest.mark.parametrize("changes", [{"p_wrong_from": "traffic"}, {"traffic": "made"}])
def test_a_profile_that_hides_where_its_level_comes_from_is_refused(
    changes: dict[str, Any],
) -> None:
    made = relevelled(profile(), gathered([0.3] * 100), system=None).profile
    values = {k: made.traffic if v == "made" else v for k, v in changes.items()}
    with pytest.raises(InputError, match="do not go together"):
        profile(**values)
