from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from energy_guard import Guard, Policy, Profile, Sampling
from energy_guard.backends import Scripted
from energy_guard.calibrate import Certificate, Training, certify, fit_calibration
from energy_guard.calibrate.certificate import Labelled
from energy_guard.errors import MismatchError
from energy_guard.policy import EarlyStop


def profile(**changes: Any) -> Profile:
    values: dict[str, Any] = {
        "model": Scripted.saying([("x", 0.9)]).info.fingerprint,
        "backend": "scripted",
        "mode": "chat",
        "detector": "nll:max",
        "locator": "whole",
        "calibration": {
            "slope": 1, "intercept": 0, "n": 98, "n_wrong": 40, "lowest": 0, "highest": 9,
        },
    }  # fmt: skip
    return Profile(**values | changes)


def policy(**changes: Any) -> Policy:
    return Policy(**{"on": "p_wrong", "warn": 0.25, "abstain": 0.5} | changes)


def certificate(max_risk: float = 0.1, detector: str = "nll:max") -> Certificate:
    """The promise holds below 0.5, not below 0.9."""
    risk = np.repeat([0.2, 0.7], 100)
    data = Labelled([str(number) for number in range(200)], risk, risk > 0.5)
    return certify(data, [0.5, 0.9], max_risk, 0.95, detector)


# Refused: what makes other answers come out.


@pytest.mark.parametrize(
    ("made", "used", "named"),
    [
        ({}, {"retries": 1}, "retries"),
        ({"retries": 2}, {}, "retries"),
        ({"retries": 2}, {"retries": 2, "retry": ("feedback",)}, "retry"),
        ({"retries": 2}, {"retries": 2, "retry": ("resample", "feedback")}, "retry"),
        ({"retries": 2}, {"retries": 2, "retry_temperature": 1.0}, "retry_temperature"),
        ({"retries": 2}, {"retries": 2, "abstain": 0.4}, "abstain"),
        ({"retries": 2}, {"retries": 2, "unscored": "show"}, "unscored"),
        ({"retries": 2}, {"retries": 2, "nothing_to_check": "withhold"}, "nothing_to_check"),
        (
            {"retries": 1, "retry": ["feedback"]},
            {"retries": 1, "retry": ("feedback",), "feedback_text": "Sure?"},
            "feedback_text",
        ),
        ({}, {"early_stop": EarlyStop(window=8, risk=3), "detector": "nll:max"}, "early_stop"),
        ({"early_stop": {"window": 8, "risk": 3}}, {}, "early_stop"),
    ],
)
def test_a_policy_that_lets_other_answers_out_is_refused(
    made: dict[str, Any], used: dict[str, Any], named: str
) -> None:
    with pytest.raises(MismatchError, match=f"made with {named} "):
        profile(**made).check_policy(policy(**used))
    backend = Scripted.saying([("x", 0.9)])
    with pytest.raises(MismatchError, match=named):
        Guard(backend, policy(**used), profile=profile(**made))


@pytest.mark.parametrize(
    ("made", "used"),
    [
        ({}, {"retry": ("feedback",), "retry_temperature": 1.0}),
        ({"retries": 2}, {"retries": 2, "retry": ("resample", "resample", "feedback")}),
        ({"retries": 1, "retry": ["feedback"]}, {"retries": 1, "retry": ("feedback", "fallback")}),
        ({}, {"warn": 0.1, "abstain": 0.2, "abstention_text": "No."}),
        ({"retries": 1}, {"retries": 1, "warn": 0.1, "feedback_text": "Sure?", "deadline_s": 9}),
    ],
    ids=["no kind", "kinds that never come", "the first", "thresholds and words", "no feedback"],
)
def test_what_changes_no_answer_is_allowed(made: dict[str, Any], used: dict[str, Any]) -> None:
    profile(**made).check_policy(policy(**used))


# Warned about.


def test_what_may_shift_probabilities_is_said() -> None:
    made = profile(
        system_prompt="Be brief.",
        sampling={"temperature": 0.0, "seed": 1},
        engine={"n_ctx": 2048, "flash_attn": False},
    )
    assert made.warnings("Be brief.", Sampling(seed=2), {"n_ctx": 2048, "n_batch": 8}) == []
    assert made.warnings("", Sampling(temperature=0.7, top_p=0.5), {"n_ctx": 4096}) == [
        "the profile was made with another system prompt",
        "the profile was made with temperature 0.0, and this is 0.7",
        "the profile was made with top_p 0.95, and this is 0.5",
        "the profile was made with n_ctx 2048, and this is 4096",
    ]


def test_what_was_not_recorded_is_not_compared() -> None:
    assert profile().warnings("Be brief.", Sampling(temperature=1), {"n_ctx": 1}) == []
    assert profile(system_prompt="").warnings() == []
    assert profile(system_prompt="").warnings("Be brief.") != []


# Promises.


def test_a_promise_covers_exactly_what_was_tested() -> None:
    made = profile(certificates=[certificate()])
    assert made.promise(policy(abstain=0.5)) == certificate()
    assert made.promise(policy(abstain=0.4)) is None, "the risk may be higher below 0.4"
    assert made.promise(policy(abstain=0.9)) is None, "tested, and not valid"
    assert made.promise(policy(abstain=None)) is None
    assert made.promise(Policy(detector="nll:max", warn=0.1, abstain=0.5)) is None, "on the score"
    assert made.promise(policy(unscored="show")) is None
    assert made.promise(policy(nothing_to_check="withhold")) is None
    shown = profile(certificates=[certificate()], unscored="show")
    assert shown.promise(policy(unscored="show")) is not None
    assert profile().promise(policy()) is None
    with pytest.raises(MismatchError):
        made.promise(policy(retries=1))


def test_the_strictest_promise_counts_and_only_those_of_this_detector() -> None:
    looser, strict, other = certificate(0.2), certificate(0.1), certificate(0.05, "nll:mean")
    made = profile(certificates=[looser, strict, other])
    assert made.promise(policy()) == strict


# Files.


def test_everything_that_is_recorded_is_read_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(2000)
    made = profile(
        calibration=fit_calibration(
            scores, rng.random(2000) < scores, [3] * 2000, method="isotonic"
        ),
        retries=1,
        early_stop=EarlyStop(window=8, risk=3),
        system_prompt="Kurz, bitte.",
        sampling=Sampling(temperature=0.7, logit_bias={5: -1.0}),
        engine={"n_ctx": 2048, "flash_attn": True, "lora_path": None},
        certificates=[certificate(), certificate(0.001)],
        training=Training(
            version="0.1.0", tasks={"quiz": 500}, fit=200, calibrate=100, certify=200
        ),
    )
    path = tmp_path / "profile.json"
    path.write_text(made.model_dump_json(by_alias=True))
    assert Profile.read(path) == made
    assert json.loads(path.read_text())["certificates"][1]["threshold"] is None


def test_an_answer_of_another_length_has_no_probability_and_says_so() -> None:
    backend = Scripted.saying([("Par", 0.97), ("is", 0.99)])
    made = profile(
        model=backend.info.fingerprint,
        calibration={
            "slope": 1, "intercept": 0, "n": 98, "n_wrong": 40, "lowest": 0, "highest": 9,
            "shortest": 3, "longest": 9,
        },
    )  # fmt: skip
    result = Guard(backend, profile=made).ask("Which city?")
    assert (result.verdict, result.p_wrong, result.shown) == ("unscored", None, False)
    assert "2 tokens" in result.reason
    assert "3 to 9" in result.reason
