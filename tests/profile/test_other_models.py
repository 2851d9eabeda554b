"""A model without a profile has P(wrong) by what other models' answers say."""

from __future__ import annotations

from pathlib import Path

import pytest

from energy_guard import Guard, Policy, Request
from energy_guard.backends import Scripted
from energy_guard.backends.base import ModelInfo
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.calibrate.detector import FEATURES
from energy_guard.judge import Judge
from energy_guard.log import TraceLog, read_log
from energy_guard.profile.other_models import ENGINES, other_models
from energy_guard.profile.store import find, store, user_path
from energy_guard.report.terminal import rests_on, rules
from energy_guard.request import Message
from energy_guard.score import Score

UNKNOWN = ModelInfo("A model that nobody knows", "00ff" * 8, backend="llama-cpp")
QUESTION = "What is the capital of France?"
TURNS = [Message("system", "Answer in one short sentence."), Message("user", QUESTION)]


@pytest.fixture
def unknown(demo: LlamaCpp, monkeypatch: pytest.MonkeyPatch) -> LlamaCpp:
    """The embedded model as if nobody had made a profile of it."""
    monkeypatch.setattr(
        LlamaCpp,
        "info",
        property(lambda self: ModelInfo("Unknown", "00ff" * 8, backend="llama-cpp")),
    )
    return demo


def test_what_is_shipped_has_the_default_features_and_comes_from_four_models() -> None:
    known = other_models()
    assert known.fitted.names == FEATURES
    assert len(known.models) >= 3
    assert known.elsewhere > 0
    assert known.calibration.slope == 1


@pytest.mark.parametrize("backend", sorted(ENGINES))
def test_a_real_model_without_a_profile_has_the_one_from_other_models(backend: str) -> None:
    found = find(ModelInfo("unknown", "00ff" * 8, backend=backend))
    assert found is not None
    assert found.p_wrong_from == "other models"
    found.check(model="00ff" * 8, backend=backend, mode="chat")
    found.check(mode="raw")


def test_ones_own_profile_goes_before_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    own = (
        other_models()
        .profile_of(UNKNOWN)
        .model_copy(update={"p_wrong_from": "profile", "warn": 0.1})
    )
    store(own, user_path(UNKNOWN))
    assert find(UNKNOWN) == own


@pytest.mark.parametrize("backend", ["scripted", "ollama", "openai"])
def test_what_does_not_give_all_signals_has_none(backend: str) -> None:
    assert find(ModelInfo("unknown", "00ff" * 8, backend=backend)) is None
    assert Guard(Scripted.saying([("Paris", 0.9)])).judge.profile is None


def test_a_result_says_that_its_p_wrong_comes_from_other_models(unknown: LlamaCpp) -> None:
    result = Guard(unknown).ask(TURNS, max_tokens=48)
    assert result.p_wrong is not None
    assert result.p_wrong_from == "other models"
    assert not result.calibrated
    assert any("other models" in note for note in result.notes)
    assert rests_on(result.to_dict()) == "from other models"


def test_so_does_one_of_a_raw_prompt(unknown: LlamaCpp) -> None:
    result = Guard(unknown).ask(
        Request.raw(f"{QUESTION} The capital of France is", stop=["."], max_tokens=24)
    )
    assert result.p_wrong_from == "other models"


def test_the_same_tokens_give_the_same_p_wrong_when_they_are_scored_again(
    unknown: LlamaCpp,
) -> None:
    guard = Guard(unknown)
    live = guard.ask(TURNS, max_tokens=48)
    again = guard.score(TURNS, live.answer)
    assert again.p_wrong == pytest.approx(live.p_wrong, abs=1e-4)


def test_fast_scoring_has_limits_that_were_set_by_hand_as_its_numbers_differ(
    unknown: LlamaCpp,
) -> None:
    result = Guard(unknown).score(QUESTION, "The capital of France is Paris.", fast=True)
    assert result.p_wrong is None
    assert result.policy.on == "score"


def test_token_ids_have_limits_that_were_set_by_hand_as_nobody_knows_what_they_ask(
    unknown: LlamaCpp,
) -> None:
    with unknown.session(Request.raw(QUESTION)) as session:
        ids = tuple(session.beginning([Request.raw(f"{QUESTION} The capital of France is")]))
    result = Guard(unknown).ask(Request(ids=ids, stop=(".",), max_tokens=24))
    assert result.score is not None
    assert result.p_wrong is None
    assert result.policy.on == "score"
    assert any("what was asked" in note for note in result.notes)


def test_an_older_log_is_scored_by_limits_that_were_set_by_hand(
    unknown: LlamaCpp, tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    Guard(unknown, log=TraceLog(path)).ask(TURNS, max_tokens=48)
    (today,) = read_log(path)
    judge = Judge.assemble(profile="auto", info=UNKNOWN)
    assert judge.for_asking("chat", unasked=today.unasked) is judge
    older = today.model_copy(update={"context": None})
    by_hand = judge.for_asking("chat", unasked=older.unasked)
    assert by_hand.profile is None
    assert isinstance(by_hand.assess_stored(older, relocate=False).score, Score)


def test_other_rules_do_without_it(unknown: LlamaCpp) -> None:
    assert Guard(unknown, detector="nll:mean").judge.profile is None
    assert Guard(unknown, Policy(on="score", detector="nll:max")).judge.profile is None


def test_the_rules_name_what_p_wrong_comes_from() -> None:
    judge = Judge.assemble(profile="auto", info=UNKNOWN)
    assert judge.p_wrong_from == "other models"
    assert rules(judge.policy, judge.p_wrong_from).startswith("P(wrong), from other models: ")
