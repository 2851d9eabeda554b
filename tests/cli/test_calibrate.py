"""`energy-guard calibrate` from end to end, with a scripted model."""

from __future__ import annotations

import json
import os
import random
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import energy_guard.cli.calibrate as module
from energy_guard import Profile
from energy_guard.backends import Scripted
from energy_guard.calibrate.split import split_of
from energy_guard.errors import ConfigError, InputError
from energy_guard.files import held
from energy_guard.profile.other_models import OwnTerms, other_models
from energy_guard.questions.answered import read_answers
from energy_guard.questions.rows import Question
from energy_guard.support_features import BY_ASKING

Item = dict[str, Any]
Calibrate = Callable[..., Profile]

LONG: Item = {"id": "long", "question": "why " * 5000 + "?", "answers": ["Oslo"]}


def items(n: int = 200) -> list[Item]:
    return [
        {"id": str(i), "task": f"t{i % 2}", "question": f"q{i}?", "answers": ["Oslo"]}
        for i in range(n)
    ]


def said(number: int) -> list[tuple[str, float]]:
    """A right answer, the surer the likelier; or a wrong one."""
    dice = random.Random(number)
    p = dice.uniform(0.2, 0.95)
    return [("Oslo" if dice.random() < p else "Bergen", p), ("!", 0.9)]


@pytest.fixture
def calibrate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calibrate:
    """Calibrate a model that has an answer to so many questions and no more."""

    def command(
        rows: list[Item], asked: int = 200, read: Path = tmp_path / "p.json", **options: Any
    ) -> Profile:
        (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
        backend = Scripted.saying(*map(said, range(200)))
        backend._played = 200 - asked
        monkeypatch.setattr(module.EngineOptions, "open", lambda _: backend)
        given: dict[str, Any] = {"out": tmp_path / "p.json", "locator": "whole"}
        module.calibrate([tmp_path / "data.jsonl"], **given | options)
        return Profile.read(read)

    return command


@pytest.mark.parametrize("at", [0, 100, 200])
def test_what_does_not_fit_is_left_out_and_counted(
    calibrate: Calibrate, capsys: pytest.CaptureFixture[str], at: int
) -> None:
    rows = items()
    profile = calibrate([*rows[:at], LONG, *rows[at:]])
    assert profile.training is not None
    assert sum(profile.training.tasks.values()) == 200
    assert "1 of 201 questions do not fit the context" in capsys.readouterr().err


def test_where_none_fits_nothing_is_asked(calibrate: Calibrate, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no question fits") as caught:
        calibrate([LONG], asked=0)
    assert "--n-ctx" in caught.value.hint
    assert not list(tmp_path.glob("p.*"))


def test_two_at_once_are_refused(calibrate: Calibrate, tmp_path: Path) -> None:
    with held(tmp_path / "p.lock"), pytest.raises(InputError, match="another run"):
        calibrate(items(), asked=0)
    assert calibrate(items())


def test_profile_and_answers_are_their_owners_alone(calibrate: Calibrate, tmp_path: Path) -> None:
    calibrate(items())
    modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in tmp_path.glob("p.*json*")}
    assert modes == {"p.json": 0o600, "p.answers.jsonl": 0o600}


def test_a_profile_of_plain_text_is_for_plain_text(calibrate: Calibrate, tmp_path: Path) -> None:
    profile = calibrate(items(), shots=2)
    assert (profile.mode, profile.system_prompt) == ("raw", None)
    made_with = json.loads((tmp_path / "p.answers.jsonl").read_text().splitlines()[0])["made_with"]
    assert (made_with["mode"], made_with["wording"]) == ("raw", "plain text, 2 examples")
    assert calibrate(items()).mode == "chat"


def test_there_is_no_system_message_in_plain_text(calibrate: Calibrate, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--system goes with a chat"):
        calibrate(items(), asked=0, shots=1, system="Be brief.")


def test_support_is_not_learnt_from_the_quiz(calibrate: Calibrate) -> None:
    with pytest.raises(InputError, match="questions over passages like yours"):
        module.calibrate(None, support=True)


@pytest.mark.parametrize(
    ("options", "in_all"),
    [({}, 100), ({"max_risk": 0.1}, 200), ({"detector": "nll:max"}, 67)],
)
def test_too_few_questions_are_refused_before_any_is_asked(
    calibrate: Calibrate, tmp_path: Path, options: dict[str, Any], in_all: int
) -> None:
    with pytest.raises(InputError, match="30 questions are too few") as caught:
        calibrate(items(30), asked=0, **options)
    assert f"at least {in_all} in all" in caught.value.hint
    assert not list(tmp_path.glob("p.*"))


@pytest.fixture
def kept(calibrate: Calibrate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A profile in a folder of its own, with the answers that it was made from."""
    place = tmp_path / "kept"
    place.mkdir()
    calibrate(items(), system="Be brief.", out=place / "p.json", read=place / "p.json")
    capsys.readouterr()
    return place / "p.json"


def mine(n: int = 200) -> list[Item]:
    return [{**item, "question": f"mine {item['id']}?"} for item in items(n)]


def test_a_profile_that_is_kept_gets_a_promise_on_all_questions(
    calibrate: Calibrate, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = calibrate(mine(), profile=str(kept), max_risk=0.4, locator=None)
    assert [certificate.n for certificate in made.certificates] == [200]
    assert made.training is not None and made.training.certify == 200
    first = Profile.read(kept)
    assert (made.basis, made.calibration) == (first.basis, first.calibration)
    wording = (tmp_path / "p.answers.jsonl").read_text().splitlines()[0]
    assert json.loads(wording)["made_with"]["wording"] == "Be brief."
    printed = capsys.readouterr().out
    assert "The profile as it is: AUROC" in printed
    assert made.certificates[0].reason in " ".join(printed.split())


def test_a_second_promise_is_a_second_look_and_the_same_one_is_none(
    calibrate: Calibrate, kept: Path
) -> None:
    given = {"profile": str(kept), "max_risk": 0.4, "locator": None}
    first = calibrate(mine(), **given)
    assert calibrate(mine(), **given) == first
    second = calibrate(mine(199), **given)
    assert [certificate.look for certificate in second.certificates] == [1, 2]


def test_no_promise_is_made_if_the_answers_of_a_profile_are_those_of_an_interrupted_run(
    calibrate: Calibrate, kept: Path
) -> None:
    """Asked anew and interrupted, a part of the questions lies there, and the profile is as old."""
    answers = kept.with_name(f"{kept.stem}.answers.jsonl")
    answers.write_text("".join(answers.read_text().splitlines(keepends=True)[:5]))
    later = kept.stat().st_mtime + 5
    os.utime(answers, (later, later))
    with pytest.raises(InputError, match="was made from is not known any more") as caught:
        calibrate(items()[150:], asked=0, profile=str(kept), max_risk=0.4, locator=None)
    assert "--resume" in caught.value.hint


def test_no_promise_is_made_on_questions_that_the_profile_was_made_from(
    calibrate: Calibrate, kept: Path
) -> None:
    some = [*mine()[:150], *items()[150:153]]
    with pytest.raises(InputError, match=r"3 of 153 questions .* was made from"):
        calibrate(some, asked=0, profile=str(kept), max_risk=0.4, locator=None)


def test_a_promise_by_one_signal_needs_no_others(
    calibrate: Calibrate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scripted, "exact_signals", frozenset({"nll", "margin"}))
    (tmp_path / "kept").mkdir()
    one = tmp_path / "kept" / "p.json"
    calibrate(items(), detector="nll:max", out=one, read=one)
    made = calibrate(mine(), profile=str(one), max_risk=0.4, locator=None)
    assert (made.detector, made.certificates[0].n) == ("nll:max", 200)


def test_a_promise_does_not_take_the_place_of_its_profile(calibrate: Calibrate, kept: Path) -> None:
    before = kept.read_text()
    with pytest.raises(ConfigError, match="would be written over"):
        calibrate(mine(), asked=0, profile=str(kept), out=kept, max_risk=0.4, locator=None)
    assert kept.read_text() == before


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "none was asked for"),
        ({"max_risk": 0.3, "system": "Be brief."}, "--system and --profile do not go together"),
        ({"max_risk": 0.3, "detector": "nll:max"}, "--detector and --profile do not go together"),
        ({"max_risk": 0.3, "shots": 2}, "for chats"),
        ({"target": 0.75}, "--target and --profile do not go together"),
    ],
)
def test_what_does_not_go_with_a_profile_that_is_kept_is_refused_before_any_is_asked(
    calibrate: Calibrate, kept: Path, tmp_path: Path, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        calibrate(mine(), asked=0, profile=str(kept), locator=None, **options)
    assert not list(tmp_path.glob("p.*"))
    with pytest.raises(InputError, match="needs questions"):
        module.calibrate(None, profile=str(kept), max_risk=0.3)


@pytest.fixture
def asked_of_the_quiz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """How many questions are asked of a quiz of 220, of which 110 are a part."""

    def command(**options: Any) -> int:
        monkeypatch.setattr(module, "quiz", small_quiz)
        backend = Scripted.saying(*map(said, range(220)))
        monkeypatch.setattr(module.EngineOptions, "open", lambda _: backend)
        module.calibrate(None, out=tmp_path / "q.json", locator="whole", **options)
        training = Profile.read(tmp_path / "q.json").training
        assert training is not None
        return sum(training.tasks.values())

    def small_quiz(*, whole: bool) -> list[Question]:
        rows = [Question(i["id"], i["task"], i["question"], ("Oslo",)) for i in items(220)]
        return rows if whole else rows[:110]

    return command


def test_a_part_of_the_quiz_is_asked_and_with_whole_all(
    asked_of_the_quiz: Callable[..., int],
) -> None:
    assert (asked_of_the_quiz(), asked_of_the_quiz(whole=True)) == (110, 220)


def test_answers_to_a_part_of_the_quiz_are_not_asked_again_for_the_whole(
    asked_of_the_quiz: Callable[..., int], tmp_path: Path
) -> None:
    asked_of_the_quiz()
    part = (tmp_path / "q.answers.jsonl").read_bytes()
    asked_of_the_quiz(whole=True, resume=True)
    assert (tmp_path / "q.answers.jsonl").read_bytes().startswith(part)


def test_whoever_interrupts_is_told_that_nothing_is_lost(
    asked_of_the_quiz: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "collect", stopped)
    with pytest.raises(KeyboardInterrupt):
        asked_of_the_quiz()
    told = capsys.readouterr().err
    assert "What was answered is kept: the same command goes on with --resume." in told


@pytest.mark.parametrize(("known", "asks"), [(False, True), (True, False)])
def test_a_model_whose_yes_is_known_to_be_worth_nothing_is_not_asked_for_it(
    asked_of_the_quiz: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known: bool,
    asks: bool,
) -> None:
    fingerprint = Scripted.saying(*map(said, range(220))).info.fingerprint
    own = {fingerprint: OwnTerms(elsewhere=0.5)} if known else {}
    others = other_models().model_copy(update={"own": own})
    monkeypatch.setattr(module, "other_models", lambda: others)
    asked_of_the_quiz()

    made_with, _ = read_answers(tmp_path / "q.answers.jsonl")
    assert made_with.get("support") == (sorted(BY_ASKING) if asks else None)


def test_files_are_asked_whole_anyway(calibrate: Calibrate) -> None:
    with pytest.raises(InputError, match="--whole is for the built-in quiz"):
        calibrate(items(), asked=0, whole=True)


def test_p_wrong_is_shown_beside_the_share_wrong_of_each_kind(
    calibrate: Calibrate, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrate(items())
    out = capsys.readouterr().out
    assert "kind of question" in out
    counts = [re.search(rf"(?m)^t{i} +(\d+) +0\.\d\d +0\.\d\d +(\d+) *$", out) for i in (0, 1)]
    shown = sum(int(found[1]) + int(found[2]) for found in counts if found)
    assert shown == sum(split_of(item["question"]) != "fit" for item in items())


def test_a_kind_with_another_share_wrong_than_p_says_is_warned_about(
    calibrate: Calibrate, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = items()
    for row in rows[::2]:  # all of t0 are wrong
        row["answers"] = ["Rome"]
    calibrate(rows)
    out = " ".join(capsys.readouterr().out.split())
    assert "warning: P(wrong) of t0 is off by more than 0.10" in out
    assert "warning: P(wrong) of t1 is off by more than 0.10" in out
