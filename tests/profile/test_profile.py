from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import energy_guard
from energy_guard import Guard, Policy, Profile, Sampling
from energy_guard.backends import Scripted
from energy_guard.calibrate.certify import Labelled, certify
from energy_guard.calibrate.probability import fit_calibration
from energy_guard.energy import Row
from energy_guard.errors import ConfigError, MismatchError
from energy_guard.fitted import FittedDetector, Term
from energy_guard.locate import Span
from energy_guard.policy import EarlyStop, Rules
from energy_guard.profile import Calibration, Certificate, ProfileTraining
from energy_guard.score import Score
from energy_guard.trace import Step, Trace


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


def certificate(max_risk: float = 0.1, **changes: Any) -> Certificate:
    """The promise holds below 0.5, not below 0.9."""
    risk = np.repeat([0.2, 0.7], 100)
    data = Labelled([str(number) for number in range(200)], risk, risk > 0.5)
    return certify(
        data, [0.5, 0.9], max_risk=max_risk, confidence=0.95, basis=profile(**changes).basis
    )


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
    assert made.warnings("Be brief.", Sampling(seed=2), engine={"n_ctx": 2048, "n_batch": 8}) == []
    assert made.warnings("", Sampling(temperature=0.7, top_p=0.5), engine={"n_ctx": 4096}) == [
        "the profile was made with another system prompt",
        "the profile was made with temperature 0.0, and this is 0.7",
        "the profile was made with top_p 0.95, and this is 0.5",
        "the profile was made with n_ctx 2048, and this is 4096",
    ]


def test_what_was_not_recorded_is_not_compared() -> None:
    assert profile().warnings("Be brief.", Sampling(temperature=1), engine={"n_ctx": 1}) == []
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
    shown = profile(certificates=[certificate(unscored="show")], unscored="show")
    assert shown.promise(policy(unscored="show")) is not None
    assert profile().promise(policy()) is None
    with pytest.raises(MismatchError):
        made.promise(policy(retries=1))


def test_the_strictest_promise_counts() -> None:
    looser, strict = certificate(0.2), certificate(0.1)
    assert profile(certificates=[looser, strict]).promise(policy()) == strict


@pytest.mark.parametrize(
    "changes",
    [
        {"detector": "nll:mean"},
        {"locator": "first-line"},
        {"mode": "raw"},
        {"scoring": "fast"},
        {"model": "11ff"},
        {"retries": 1},
        {"early_stop": EarlyStop(window=8, risk=3)},
        {"calibration": profile().calibration.model_copy(update={"slope": 2.0})},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_certificate_of_another_profile_is_a_look_and_no_promise(changes: dict[str, Any]) -> None:
    """A profile carries those of the one before it: of other answers, below other limits."""
    used = profile(**changes, certificates=[certificate()])
    assert used.promise(used.policy()) is None
    own = profile(**changes, certificates=[certificate(), certificate(**changes)])
    assert own.promise(own.policy()) == certificate(**changes)


def test_what_only_people_read_or_warnings_name_makes_no_promise_void(tmp_path: Path) -> None:
    made = profile(
        certificates=[certificate()],
        system_prompt="Be brief.",
        sampling=Sampling(temperature=0.5),
        engine={"n_ctx": 512},
        training=ProfileTraining(version="0.1.0", tasks={"quiz": 500}),
        warn=0.1,
    )
    path = tmp_path / "profile.json"
    path.write_text(made.model_dump_json(by_alias=True))
    assert Profile.read(path).promise(policy(warn=0.2)) == certificate()


# Answers unlike those that it was made from.


def test_there_is_no_p_wrong_far_from_the_answers_that_are_known() -> None:
    terms = [
        {"feature": "span.nll:max", "centre": 0, "scale": 1, "weight": 1},
        {"feature": "span.tokens", "centre": 0, "scale": 1, "weight": 0.1},
    ]
    training = {"tasks": ["t"], "n": 9, "n_wrong": 4}
    bare = FittedDetector(terms=terms, intercept=0, training=training)
    fitted = bare.knowing(np.array([[0.0, 1.0], [4.0, 3.0]]))
    assert fitted.name == bare.name, "the scores are the same"
    made = profile(detector=fitted.name, fitted=fitted)

    def answer(nll: float, n: int = 2) -> Score:
        steps = [Step(t, b"a", 9.0 - nll, Row(9.0, 0.0, 0.1, 1.0)) for t in range(n)]
        found = made.scorer.score(Trace.from_steps(steps), Span(tuple(range(n)), "a" * n))
        assert isinstance(found, Score)
        return found

    for within in (answer(4.0), answer(5.0), answer(0.0)):
        assert made.why_not(within) is None
        assert made.p_wrong(within) == made.calibration.p_wrong(within.value)
    far = answer(5.1)
    assert far.value < made.calibration.highest, "cut off at 4, the score is an ordinary one"
    assert made.p_wrong(far) is None
    less_sure = "the model was less sure of this answer than of any that the profile was made from"
    assert made.why_not(far) == less_sure
    longer = answer(2.0, n=4)
    assert made.why_not(longer) == (
        "the exact answer is longer than any that the profile was made from"
    )


# Files.


def test_everything_that_is_recorded_is_read_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(2000)
    made = profile(
        calibration=fit_calibration(scores, rng.random(2000) < scores, lengths=[3] * 2000),
        retries=1,
        early_stop=EarlyStop(window=8, risk=3),
        system_prompt="Kurz, bitte.",
        sampling=Sampling(temperature=0.7, logit_bias={5: -1.0}),
        engine={"n_ctx": 2048, "flash_attn": True, "lora_path": None},
        certificates=[certificate(), certificate(0.001)],
        training=ProfileTraining(
            version="0.1.0", tasks={"quiz": 500}, fit=200, calibrate=100, certify=200
        ),
    )
    path = tmp_path / "profile.json"
    path.write_text(made.model_dump_json(by_alias=True))
    assert Profile.read(path) == made
    assert json.loads(path.read_text())["certificates"][1]["threshold"] is None


def test_a_profile_of_an_earlier_version_is_written_as_it_was_and_its_promise_holds() -> None:
    """Made before its rules were inherited; a digest of its text is in its certificate."""
    path = Path(__file__).parent / "earlier.json"
    made = Profile.read(path)
    assert made.model_dump_json(indent=1, by_alias=True) + "\n" == path.read_text("utf-8")
    assert made.basis == made.certificates[0].basis == "95461d8e957f6e5a"
    assert made.promise(made.policy()) == made.certificates[0]


@pytest.mark.parametrize(
    ("name", "basis"),
    [
        ("2e79d011feac14746c6d6634376c3ccf-llama-cpp", "2b99d6396072f232"),
        ("35df3fe10f6ce7093e92c630d89e6d81-transformers", "2e1cfb8bf24d2e67"),
    ],
)
def test_a_certificate_made_for_a_shipped_profile_stays_its_own(name: str, basis: str) -> None:
    path = Path(energy_guard.__file__).parent / "data" / "profiles" / f"{name}.json"
    shipped = Profile.read(path)
    assert shipped.basis == basis
    assert shipped.model_dump_json(indent=1, by_alias=True) + "\n" == path.read_text("utf-8")


def test_what_a_profile_was_calibrated_on_is_written_and_decides_its_basis(tmp_path: Path) -> None:
    older = profile()
    assert older.judged == "exact answer"
    assert not {"judged", "whole_answer"} & set(json.loads(older.model_dump_json()))
    for change in ({"judged": "every claim"}, {"whole_answer": older.calibration}):
        made = profile(**change)
        path = tmp_path / "profile.json"
        path.write_text(made.model_dump_json(by_alias=True))
        assert Profile.read(path) == made
        assert made.basis != older.basis


def test_policy_and_profile_have_the_same_rules() -> None:
    rules = {
        "retries": 3,
        "retry": ("feedback", "resample"),
        "retry_temperature": 0.9,
        "feedback_text": "Sure of {span}?",
        "early_stop": EarlyStop(window=8, risk=3),
        "unscored": "show",
        "nothing_to_check": "withhold",
    }
    assert rules.keys() == Rules.model_fields.keys()
    assert profile(**rules).rules == policy(**rules, detector="nll:max").rules == rules
    assert profile(**rules).policy().rules == rules


def test_every_rule_that_differs_is_named() -> None:
    one = policy(retries=2, retry=("feedback",), retry_temperature=1.0)
    other = policy(retries=2, retry=("feedback", "resample"), unscored="show")
    assert one.differences(other) == [
        "retry ('feedback', 'feedback'), and this is ('feedback', 'resample')",
        "retry_temperature 1.0, and this is 0.7",
        "unscored 'withhold', and this is 'show'",
    ]
    assert one.differences(one) == []


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
    assert "length in tokens is 2" in result.reason
    assert "3 to 9" in result.reason


@pytest.mark.parametrize("known", ["shortest", "longest"])
def test_lengths_that_were_fitted_on_are_known_at_both_ends_or_at_neither(known: str) -> None:
    with pytest.raises(ConfigError, match="shortest and longest come together"):
        Calibration(slope=1, intercept=0, n=98, n_wrong=50, lowest=-3, highest=3, **{known: 4})


@pytest.mark.parametrize("known", ["low", "high"])
def test_the_range_of_a_feature_is_known_at_both_ends_or_at_neither(known: str) -> None:
    with pytest.raises(ConfigError, match="low and high come together"):
        Term(feature="span.nll:max", centre=1, scale=2, weight=1, **{known: 1.0})
