"""What a result says of itself: where P(wrong) comes from, how much is written out, its repr."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard import Guard, Policy, Profile, Result
from energy_guard.backends import Scripted
from energy_guard.errors import ConfigError
from energy_guard.policy import UNCALIBRATED
from energy_guard.result import Level, PWrongFrom

LIMITS: dict[str, Any] = {"detector": "nll:max", "warn": 1.0, "abstain": 2.0}


def calibrated(backend: Scripted) -> Guard:
    profile = Profile(
        model=backend.info.fingerprint,
        backend="scripted",
        mode="chat",
        detector="nll:max",
        locator="automatic",
        calibration={
            "slope": 1.0,
            "intercept": -2.0,
            "n": 98,
            "n_wrong": 40,
            "lowest": 0.0,
            "highest": 5.0,
        },
    )
    return Guard(backend, profile=profile)


def said(*pieces: tuple[str, float], profile: bool = False, **policy: Any) -> Result:
    backend = Scripted.saying(pieces)
    guard = calibrated(backend) if profile else Guard(backend, Policy(**LIMITS | policy))
    return guard.ask("Which city is it?")


def test_p_wrong_says_where_it_comes_from() -> None:
    with_profile, without = said(("Paris", 0.9), profile=True), said(("Paris", 0.9))
    assert (with_profile.p_wrong_from, with_profile.calibrated) == ("profile", True)
    assert with_profile.p_wrong is not None
    assert (without.p_wrong, without.p_wrong_from, without.calibrated) == (None, None, False)
    nothing = said(profile=True)
    assert (nothing.p_wrong, nothing.p_wrong_from, nothing.calibrated) == (None, None, False)
    assert get_args(PWrongFrom) == ("profile", "other models", "traffic")


@pytest.mark.parametrize("level", get_args(Level))
@pytest.mark.parametrize("profile", [True, False])
@pytest.mark.parametrize("p", [0.9, 0.3, 0.01])
def test_every_level_has_the_verdict_and_its_basis(level: Level, profile: bool, p: float) -> None:
    result = said(("Paris", p), (".", 0.9), profile=profile)
    data = result.to_dict(level)
    for name in ("verdict", "shown", "p_wrong", "p_wrong_from", "calibrated", "score", "detector"):
        assert data[name] == getattr(result, name)
    assert data["attempts"] == 1
    assert data["model"]["fingerprint"] == result.model.fingerprint


def test_full_is_the_default_and_has_what_is_withheld() -> None:
    result = said(("Stavisza", 0.01), (".", 0.9))
    assert result.to_dict() == result.to_dict("full")
    assert result.to_dict()["answer"] == "Stavisza."
    assert result.to_dict()["span"]["text"] == "Stavisza"
    assert [token["text"] for token in result.to_dict()["tokens"]][:2] == ["Stavisza", "."]
    assert "Stavisza" in result.to_dict()["reason"]


def test_a_summary_of_a_shown_answer_has_its_words_and_no_list_of_tokens() -> None:
    result = said(("It is Paris.", 0.9), (" It is old.", 0.3), (" Yes.", 0.9))
    full, summary = result.to_dict(), result.to_dict("summary")
    assert result.shown
    assert "tokens" not in summary
    assert set(summary["span"]) == {"start", "end", "text"}
    del full["tokens"], full["span"]["tokens"]
    assert summary == full


def test_a_summary_of_a_withheld_answer_has_its_numbers_without_its_words() -> None:
    result = said(("It is Stavisza.", 0.01), (" He is old.", 0.3), (" Yes.", 0.9))
    full, summary = result.to_dict(), result.to_dict("summary")
    assert summary["answer"] is None
    assert summary["text"] == result.text == result.policy.abstention_text
    assert summary["reason"] == "nll:max of the exact answer is 4.61, at or above the limit of 2"
    assert summary["span"] == {"start": 0, "end": full["span"]["end"], "text": None}
    assert len(summary["sentences"]) == 3
    for now, then in zip(summary["sentences"], full["sentences"], strict=True):
        assert now == then | {"text": None}
        assert then["text"] is not None


def test_with_a_profile_the_reason_without_quotation_names_p_wrong() -> None:
    result = said(("Stavisza", 0.05), profile=True)
    assert (
        result.unquoted_reason
        == "P(wrong) of the exact answer is 0.73, at or above the limit of 0.5"
    )
    assert (
        result.reason
        == "P(wrong) of the exact answer “Stavisza” is 0.73, at or above the limit of 0.5"
    )


@pytest.mark.parametrize("profile", [True, False])
@pytest.mark.parametrize("p", [0.9, 0.01])
def test_the_level_none_has_no_text(profile: bool, p: float) -> None:
    result = said(("It is Paris.", p), (" It is old.", 0.9), profile=profile)
    known = {
        result.verdict,
        result.p_wrong_from,
        result.scored,
        result.detector,
        result.policy.on,
        result.trace.finish_reason,
        result.model.name,
        result.model.fingerprint,
        result.model.backend,
    }
    assert set(texts_in(result.to_dict("none"))) <= known
    assert result.to_dict("none").items() <= result.to_dict("summary").items()


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_in(each)


def test_another_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="no level 'all'"):
        said(("Paris", 0.9)).to_dict("all")  # type: ignore[arg-type]


WORDS = st.text('ÄÖÜЖФЩ北京ΑΒΓ👍{}[]"\\<>.!\n ', min_size=1, max_size=30)
"""Of letters that no text of ours has: what is found of them was quoted."""


@given(
    st.lists(st.tuples(WORDS, st.sampled_from([0.01, 0.3, 0.9])), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from([{}, {"unscored": "withhold"}, {"early_stop": {"window": 2, "risk": 0.5}}]),
)
def test_no_four_characters_of_a_withheld_answer_are_in_its_summary(
    pieces: list[tuple[str, float]], profile: bool, policy: dict[str, Any]
) -> None:
    result = said(*pieces, profile=profile, **policy)
    if result.shown:
        assert result.to_dict("summary")["answer"] == result.answer
        return
    written = "\0".join(texts_in(result.to_dict("summary")))
    for view in (written, repr(result)):
        for start in range(len(result.answer) - 3):
            part = result.answer[start : start + 4]
            assert not part.strip() or part not in view


def test_the_words_of_every_kind_of_withheld_answer_are_kept_out() -> None:
    """The test above would pass if nothing were withheld."""
    kinds = [
        said(("ÄÖÜЖ", 0.01)),
        said(("ÄÖÜЖ", 0.01), profile=True),
        said(*[("ÄÖÜЖ ", 0.3)] * 5, early_stop={"window": 2, "risk": 0.5}),
        said(("<think>ÄÖÜЖ", 0.9), unscored="withhold"),
    ]
    assert [result.verdict for result in kinds] == ["abstain", "abstain", "abstain", "unscored"]
    assert not any(result.shown for result in kinds)
    for result in kinds[:3]:
        assert "ÄÖÜЖ" in json.dumps(result.to_dict(), ensure_ascii=False)
        assert "ÄÖÜЖ" not in json.dumps(result.to_dict("summary"), ensure_ascii=False)


@pytest.mark.parametrize("p", [0.9, 0.3, 0.01])
@pytest.mark.parametrize("profile", [True, False])
def test_a_results_repr_is_two_lines_with_verdict_risk_reason_and_counts(
    p: float, profile: bool
) -> None:
    result = said(("Par\nis\x1b[2J", p), (" now", 0.9), profile=profile)
    first, second = repr(result).split("\n")
    assert result.score is not None
    assert f"<Result {result.verdict}, " in first
    assert f"nll:max {result.score:.2f}" in first
    assert ("P(wrong)" in first) == profile
    assert "tokens: 3, attempts: 1" in first
    assert ("Par" in repr(result)) == result.shown
    reason = result.reason if result.shown else result.unquoted_reason
    assert second.strip() == repr(reason)
    assert "\x1b" not in repr(result)


def test_the_repr_of_a_long_answer_is_short() -> None:
    result = said(*[("word ", 0.9)] * 400)
    assert len(repr(result)) < 500
    assert len(repr(result.trace)) < 300


def test_a_traces_repr_is_two_lines_with_counts_nll_and_text() -> None:
    trace = said(("Par", 0.5), ("is\x1b", 0.9)).trace
    first, second = repr(trace).split("\n")
    assert first.startswith(f"<Trace tokens: 3, of the prompt: {trace.prompt_tokens}, ended by eos")
    assert f"nll {trace.nll.mean():.2f} on average, {trace.nll.max():.2f} at most>" in first
    assert second == "  'Paris\\x1b'"
    empty = repr(type(trace).from_steps([]))
    assert "tokens: 0" in empty
    assert "nll" not in empty


@pytest.mark.parametrize("level", ["full", "summary"])
def test_limits_that_were_set_by_hand_are_called_so(level: Level) -> None:
    by_hand = said(("Paris", 0.9)).to_dict(level)
    assert by_hand["notes"] == [UNCALIBRATED]
    assert UNCALIBRATED not in said(("Paris", 0.9), profile=True).to_dict(level)["notes"]
