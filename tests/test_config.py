from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_guard import Policy, Profile
from energy_guard.errors import ConfigError, MismatchError
from energy_guard.profile import Calibration

POLICY_TOML = """
detector = "nll:max"
model = "00ff"
warn = 1
abstain = 2.5
unscored = "show"
retries = 2
abstention_text = "Ich weiß es nicht. 不知道"
"""

CALIBRATION: dict[str, Any] = {
    "slope": 2.0,
    "intercept": -1.0,
    "n": 98,
    "n_wrong": 40,
    "lowest": -10.0,
    "highest": 10.0,
}
PROFILE: dict[str, Any] = {
    "schema": 1,
    "model": "00ff",
    "backend": "scripted",
    "mode": "chat",
    "detector": "nll:max",
    "locator": "whole",
    "retries": 1,
    "calibration": CALIBRATION,
}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def message(cls: type[Policy | Profile], path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        cls.read(path)
    return str(caught.value)


def test_a_policy_from_toml_and_from_json_is_the_same(tmp_path: Path) -> None:
    policy = Policy.read(write(tmp_path / "policy.toml", POLICY_TOML))
    assert (policy.detector, policy.warn, policy.abstain) == ("nll:max", 1.0, 2.5)
    assert (policy.unscored, policy.retries, policy.model) == ("show", 2, "00ff")
    assert policy.abstention_text.endswith("不知道")
    assert policy.on == "score", "what is left out keeps its default"
    again = write(tmp_path / "policy.json", policy.model_dump_json())
    assert Policy.read(str(again)) == policy


def test_a_profile_from_json_and_from_toml_is_the_same(tmp_path: Path) -> None:
    profile = Profile.read(write(tmp_path / "profile.json", json.dumps(PROFILE)))
    assert (profile.model, profile.retries, profile.calibration.n) == ("00ff", 1, 98)
    flat = {k: v for k, v in PROFILE.items() if k != "calibration"}
    toml = "".join(f"{key} = {json.dumps(value)}\n" for key, value in flat.items())
    toml += "[calibration]\n" + "".join(f"{k} = {v}\n" for k, v in CALIBRATION.items())
    assert Profile.read(write(tmp_path / "profile.toml", toml)) == profile


def test_a_profile_that_was_written_reads_as_it_was(tmp_path: Path) -> None:
    profile = Profile(**PROFILE)
    text = profile.model_dump_json(by_alias=True)
    assert Profile.read(write(tmp_path / "p.json", text)) == profile


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"warning": 1.0}, "warning: no such key"),
        ({"warn": "much"}, "warn: "),
        ({"warn": 3.0, "abstain": 2.0}, "warn must not be above abstain"),
        ({"warn": math.nan}, "warn: "),
        ({"abstain": math.inf}, "abstain: "),
        ({"warn": -math.inf}, "warn: "),
        ({"unscored": "hide"}, "unscored: "),
        ({"on": "entropy"}, "on: "),
        ({"retries": -1}, "retries: "),
        ({"retries": 11}, "retries: "),
        ({"retry_temperature": 0}, "retry_temperature: "),
        ({"detector": None}, "detector"),
        ({"on": "p_wrong", "abstain": 2.0}, "between 0 and 1"),
        ({"detector": "nll:median"}, "median"),
    ],
)
def test_a_bad_policy_is_refused_by_the_name_of_its_key(
    changes: dict[str, Any], named: str, tmp_path: Path
) -> None:
    good = {"detector": "nll:max", "warn": 1.0, "abstain": 2.0}
    path = write(tmp_path / "policy.json", json.dumps(good | changes))
    assert named in message(Policy, path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_": "x"}, "model_: no such key"),
        ({"model": None}, "model: "),
        ({"schema": 2}, "schema: "),
        ({"mode": "both"}, "mode: "),
        ({"scoring": "live"}, "scoring: "),
        ({"detector": "delta:max"}, "delta"),
        ({"calibration": CALIBRATION | {"slope": -1}}, "slope: "),
        ({"calibration": CALIBRATION | {"slope": math.nan}}, "slope: "),
        ({"calibration": CALIBRATION | {"highest": math.inf}}, "highest: "),
        ({"calibration": CALIBRATION | {"offset": 1}}, "offset: no such key"),
        ({"calibration": CALIBRATION | {"n_wrong": 0}}, "n_wrong: "),
        ({"calibration": CALIBRATION | {"n_wrong": 98}}, "n_wrong must be below n"),
    ],
)
def test_a_bad_profile_is_refused_by_the_name_of_its_key(
    changes: dict[str, Any], named: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "profile.json", json.dumps(PROFILE | changes))
    assert named in message(Profile, path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "profile.json", json.dumps({"model": "00ff"}))
    said = message(Profile, path)
    assert "calibration: " in said
    assert "schema, model, backend" in said, "the hint lists the keys"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("policy.toml", "warn = "),
        ("policy.toml", "warn = 1\nwarn = 2\n"),
        ("policy.json", '{"detector": "nll:max", "abstain": 1, "abstain": 99}'),
        ("policy.json", '{"early_stop": {"window": 8, "risk": 1, "risk": 99}}'),
        ("policy.json", "{"),
        ("policy.json", ""),
        ("policy.json", "[1, 2]"),
        ("policy.json", '"text"'),
        ("policy.json", "null"),
        ("policy.toml", b'detector = "\xff"'),
        ("policy.json", b'{"detector": "\xff"}'),
        pytest.param("policy.json", "[" * 20_000, id="endless"),
        ("policy.toml", POLICY_TOML.encode("utf-16")),
    ],
)
def test_a_file_that_is_no_table_of_keys_is_refused(
    name: str, content: str | bytes, tmp_path: Path
) -> None:
    assert name in message(Policy, write(tmp_path / name, content))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "nowhere.toml" in message(Policy, tmp_path / "nowhere.toml")
    assert str(tmp_path) in message(Profile, tmp_path), "a directory"


def test_settings_do_not_change_later() -> None:
    policy = Policy(detector="nll:max", warn=1.0)
    with pytest.raises(ValueError, match="frozen"):
        policy.warn = 2.0  # type: ignore[misc]


def test_names_of_detectors_are_stored_in_their_usual_form() -> None:
    assert Policy(detector="nll:max:high").detector == "nll:max"
    assert Profile(**PROFILE | {"detector": "margin:min:low"}).detector == "margin:min"


def calibration(**changes: float) -> Calibration:
    return Calibration(**CALIBRATION | changes)


def test_p_wrong_is_the_logistic_of_the_score() -> None:
    assert calibration().p_wrong(0.5) == pytest.approx(0.5)
    assert calibration().p_wrong(1.0) == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert calibration().p_wrong(0.0) == pytest.approx(1 / (1 + math.exp(1.0)))


def test_p_wrong_is_never_surer_than_its_data() -> None:
    assert calibration().p_wrong(10.0) == pytest.approx(1 - 1 / 100)
    assert calibration().p_wrong(-10.0) == pytest.approx(1 / 100)


@pytest.mark.parametrize("score", [10.001, -10.001, math.inf, -math.inf, math.nan])
def test_there_is_no_probability_outside_the_range(score: float) -> None:
    assert calibration().p_wrong(score) is None


@pytest.mark.parametrize("edge", [10.0, -10.0])
def test_the_ends_of_the_range_belong_to_it(edge: float) -> None:
    assert calibration().p_wrong(edge) is not None


@given(
    score=st.floats(-1e308, 1e308),
    slope=st.floats(0, 1e308),
    intercept=st.floats(-1e308, 1e308),
)
def test_huge_scores_do_not_overflow(score: float, slope: float, intercept: float) -> None:
    wide = calibration(slope=slope, intercept=intercept, lowest=-1.7e308, highest=1.7e308)
    p = wide.p_wrong(score)
    assert p is not None
    assert 1 / 100 <= p <= 99 / 100


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("model", "11ee"),
        ("backend", "llama-cpp"),
        ("mode", "raw"),
        ("detector", "nll:mean"),
        ("locator", "automatic"),
        ("scoring", "fast"),
        ("retries", 0),
    ],
)
def test_a_profile_is_refused_where_what_it_depends_on_differs(key: str, other: str | int) -> None:
    actual = {k: PROFILE[k] for k in ("model", "backend", "mode", "detector", "locator", "retries")}
    actual["scoring"] = "token-by-token"
    profile = Profile(**PROFILE)
    profile.check(**actual)
    with pytest.raises(MismatchError) as caught:
        profile.check(**actual | {key: other})
    assert key in caught.value.message
    assert repr(other) in caught.value.message
