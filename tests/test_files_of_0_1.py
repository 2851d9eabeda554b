"""Files that version 0.1 wrote are read with the values that it read from them itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from energy_guard import Policy, Profile
from energy_guard.decide import Attempt
from energy_guard.evaluate.folder import read_run
from energy_guard.judge import Judge
from energy_guard.locate import Located, Span
from energy_guard.log import LogEntry, read_log
from energy_guard.questions.answered import Answered, read_answers
from energy_guard.score import Score, Scorer

FILES = Path(__file__).with_name("files_of_0_1")


def values(folder: Path) -> dict[str, Any]:
    """What the files say, as JSON: stored values, and numbers that are computed from them."""
    profile = Profile.read(folder / "profile.json")
    asked_with, asked_again = read_answers(folder / "answers_with_retries.jsonl")
    evaluated_with, evaluated, run = read_run(folder / "evaluation")
    assert run is not None
    return {
        "policy.toml": Policy.read(folder / "policy.toml").model_dump(mode="json"),
        "policy.json": Policy.read(folder / "policy.json").model_dump(mode="json"),
        "profile.json": profile.model_dump(mode="json", by_alias=True),
        "policy of profile.json": profile.policy().model_dump(mode="json"),
        "log.jsonl": [entry_values(entry) for entry in read_log(folder / "log.jsonl")],
        "private_log.jsonl": [entry_values(e) for e in read_log(folder / "private_log.jsonl")],
        "answers_with_retries.jsonl": [
            asked_with,
            [answered_values(answered, profile.scorer, profile) for answered in asked_again],
        ],
        "evaluation": [
            evaluated_with,
            [run.command, list(run.ids), dict(run.too_long)],
            [answered_values(a, Judge.assemble(detector="nll:max").detector) for a in evaluated],
        ],
    }


def entry_values(entry: LogEntry) -> dict[str, Any]:
    judge = Judge.assemble(policy=Policy.read(FILES / "policy.json"))
    again = judge.assess_stored(entry, relocate=False)
    return entry.model_dump(mode="json", by_alias=True, exclude={"trace"}) | {
        "trace": json.loads(entry.trace.to_json()),
        "text": entry.trace.text,
        "located": located_values(entry.located),
        "scored again": score_values(again, judge.detector),
    }


def answered_values(
    answered: Answered, scorer: Scorer, profile: Profile | None = None
) -> dict[str, Any]:
    return answered.to_dict() | {
        "texts": [attempt.trace.text for attempt in answered.attempts],
        "scores": [score_values(a, scorer, profile) for a in answered.attempts],
    }


def score_values(attempt: Attempt, scorer: Scorer, profile: Profile | None = None) -> list[Any]:
    score = scorer.score(attempt.trace, attempt.located)
    if not isinstance(score, Score):
        return [None, score.reason]
    return [score.value, None if profile is None else profile.p_wrong(score)]


def located_values(located: Located) -> list[Any]:
    if isinstance(located, Span):
        return [list(located.tokens), located.text]
    return [type(located).__name__, located.reason]


EXPECTED: dict[str, Any] = json.loads((FILES / "expected.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(values(FILES)))
    return read


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_of_0_1_is_read_with_the_values_that_0_1_read(
    found: dict[str, Any], name: str
) -> None:
    assert_holds(found[name], EXPECTED[name], name)


def assert_holds(found: Any, expected: Any, place: str) -> None:
    """Newer versions may say more; what was said then is still said."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert_holds(found[key], value, f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for number, (now, then) in enumerate(zip(found, expected, strict=True)):
            assert_holds(now, then, f"{place}.{number}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12), place
    else:
        assert (type(found), found) == (type(expected), expected), place


def test_the_files_hold_what_could_go_wrong() -> None:
    profile = EXPECTED["profile.json"]
    assert profile["fitted"]["terms"]
    assert profile["certificates"]
    assert (profile["retries"], profile["retry"]) == (2, ["feedback", "resample"])
    verdicts = {entry["result"]["verdict"] for entry in EXPECTED["log.jsonl"]}
    assert verdicts == {"accept", "warn", "abstain", "unscored"}
    assert all(entry["texts"] for entry in EXPECTED["log.jsonl"])
    assert not any(entry["texts"] for entry in EXPECTED["private_log.jsonl"])
    _, several = EXPECTED["answers_with_retries.jsonl"]
    assert any(len(answered["attempts"]) > 1 for answered in several)
    assert {answered["outcome"] for answered in several} == {"right", "wrong", "refused"}
    p_wrong = [p for answered in several for _, p in answered["scores"]]
    assert all(0 < p < 1 for p in p_wrong if isinstance(p, float))
    assert any(isinstance(p, float) for p in p_wrong)
