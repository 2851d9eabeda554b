"""`energy-guard calibrate --unlabelled` from end to end, with a scripted model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import energy_guard.cli.calibrate as module
import energy_guard.profile.store as store
from energy_guard import Guard, Profile
from energy_guard.backends import Scripted
from energy_guard.cli.calibrate_traffic import calibrate_on_traffic
from energy_guard.cli.options import EngineOptions
from energy_guard.errors import ConfigError, InputError
from energy_guard.log import TraceLog, read_log
from energy_guard.questions.labels import LabelFile, digest_of

N = 60


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of 60 answers, most of which the model was unsure of; beside it start.json."""
    risks = np.random.default_rng(0).uniform(0.05, 0.5, N).tolist()
    backend = Scripted.saying(*[[(f"Word{n}", p)] for n, p in enumerate(risks)])
    path = tmp_path / "log.jsonl"
    settings: dict[str, Any] = {"detector": "nll:max", "locator": "whole", "profile": None}
    guard = Guard(backend, **settings, log=TraceLog(path))
    for number in range(N):
        guard.ask(f"Which is number {number}?")
    profile = Profile(
        model=backend.info.fingerprint,
        backend="scripted",
        mode="chat",
        detector="nll:max",
        locator="whole",
        system_prompt="",
        calibration={
            "slope": 1, "intercept": -1, "n": 98, "n_wrong": 40, "lowest": -1, "highest": 9,
        },
    )  # fmt: skip
    (tmp_path / "start.json").write_text(profile.model_dump_json(by_alias=True))
    return path


@pytest.fixture
def move(log: Path) -> Callable[..., Profile]:
    def command(**options: Any) -> Profile:
        module.calibrate(None, unlabelled=[log], **options)
        return Profile.read(options.get("out") or log.with_name("start.traffic.json"))

    return command


def labelled(log: Path, label: Any, n: int = 30) -> Path:
    file = LabelFile(log.with_name("log.labels.jsonl"))
    for number, entry in enumerate(list(read_log(log))[:n]):
        assert entry.question is not None
        digest = digest_of(entry.question, None, (), entry.trace.text)
        file.add(label, name=str(number), digest=digest, labeller="me", number=1)
    return file.path


def test_the_new_profile_lies_beside_the_old_one_and_the_numbers_are_told(
    log: Path, move: Callable[..., Profile], capsys: pytest.CaptureFixture[str]
) -> None:
    start = log.with_name("start.json")
    before = start.read_bytes()
    made = move(profile=str(start))
    assert made.p_wrong_from == "traffic" and made.traffic is not None
    share = made.traffic.share
    told = " ".join(capsys.readouterr().out.split())
    assert f"{N} answers with P(wrong), 0 of them labelled" in told
    assert (
        f"share of wrong answers: {share.value:.2f} ({share.low:.2f} to {share.high:.2f})" in told
    )
    assert f"Mean P(wrong): {made.traffic.before:.2f} before, {share.value:.2f} after" in told
    judge = [Profile.read(start).calibration, made.calibration]
    scores = [float(e.result["score"]) for e in read_log(log)]
    shown = [sum((c.p_wrong(s) or 0.0) < 0.5 for s in scores) for c in judge]
    assert f"below 0.50: {shown[0]} before, {shown[1]} after" in told
    assert "about 30 labels sharpen it" in told and "no certificate" in told
    assert start.read_bytes() == before


def test_labels_sharpen_the_estimate(
    log: Path, move: Callable[..., Profile], capsys: pytest.CaptureFixture[str]
) -> None:
    start = str(log.with_name("start.json"))
    alone = move(profile=start).traffic
    assert "scores alone may be far off" in " ".join(capsys.readouterr().out.split())
    told = move(profile=start, labels=labelled(log, "right")).traffic
    assert alone is not None and told is not None
    assert told.labelled == 30 and told.share.high < alone.share.low
    out = capsys.readouterr().out
    assert "30 of them labelled" in out and "may be far off" not in out


def test_few_labels_are_said_to_be_few(
    log: Path, move: Callable[..., Profile], capsys: pytest.CaptureFixture[str]
) -> None:
    move(profile=str(log.with_name("start.json")), labels=labelled(log, "right", 5))
    assert "scores and 5 of 30 labels may be far off" in " ".join(capsys.readouterr().out.split())


def test_labels_of_other_answers_are_refused(log: Path, move: Callable[..., Profile]) -> None:
    start, other = str(log.with_name("start.json")), log.with_name("other.labels.jsonl")
    LabelFile(other).add("right", name="1", digest="00ff", labeller="me", number=1)
    with pytest.raises(InputError, match="none of the 1 labels"):
        move(profile=start, labels=other)
    with pytest.raises(InputError, match="holds no labels"):
        move(profile=start, labels=log.with_name("none.jsonl"))


def test_the_profile_of_the_logs_model_is_found_by_itself(
    log: Path, move: Callable[..., Profile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EngineOptions, "open", lambda _: pytest.fail("nothing is loaded"))
    monkeypatch.setattr(store, "user_data_path", lambda *_, **__: log.parent / "data")
    out = log.with_name("out.json")
    with pytest.raises(ConfigError, match="there is no profile of scripted to start from"):
        move(out=out)
    start = Profile.read(log.with_name("start.json"))
    store.store(start, store.user_path(next(iter(read_log(log))).model_info))
    assert move(out=out).model == start.model


def test_answers_of_several_models_need_a_profile_to_be_named(log: Path) -> None:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[0]["result"]["model"]["fingerprint"] = "00ff"
    log.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ConfigError, match="of 2 models"):
        module.calibrate(None, unlabelled=[log])


def test_a_profile_that_was_made_from_labels_is_never_overwritten(
    log: Path, move: Callable[..., Profile]
) -> None:
    start = log.with_name("start.json")
    with pytest.raises(ConfigError, match="made from labelled answers"):
        move(profile=str(start), out=start)
    first = move(profile=str(start))
    assert move(profile=str(start)) == first, "one that was made from traffic may be made again"


def test_a_profile_from_traffic_is_no_start(log: Path, move: Callable[..., Profile]) -> None:
    move(profile=str(log.with_name("start.json")))
    with pytest.raises(InputError, match="Start from the one that it was made from"):
        move(profile=str(log.with_name("start.traffic.json")), out=log.with_name("twice.json"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_risk": 0.1}, "--max-risk"),
        ({"target": 0.5}, "--target"),
        ({"resume": True}, "--resume"),
        ({"detector": "nll:max"}, "--detector"),
        ({"locator": "whole"}, "--locator"),
        ({"grader": "model:x.gguf"}, "--grader"),
        ({"policy": "p.toml"}, "--policy"),
    ],
)
def test_what_belongs_to_labelled_questions_is_refused_beside_a_log(
    options: dict[str, Any], named: str, move: Callable[..., Profile]
) -> None:
    with pytest.raises(ConfigError, match=f"{named} and --unlabelled do not go together"):
        move(**options)


def test_what_belongs_to_a_log_is_refused_without_one() -> None:
    with pytest.raises(ConfigError, match="--labels are of logged answers, and none were given"):
        module.calibrate(None, labels=Path("x"))
    with pytest.raises(InputError, match="needs questions"):
        module.calibrate(None, profile="x")


def test_the_folder_of_an_evaluation_stands_for_its_answers(tmp_path: Path, log: Path) -> None:
    with pytest.raises(InputError, match=r"answers\.jsonl"):
        calibrate_on_traffic(
            [tmp_path],
            EngineOptions(),
            profile=str(log.with_name("start.json")),
            labels=None,
            system=None,
            out=None,
            as_json=False,
        )


def test_with_json_the_profile_alone_is_printed(
    log: Path, move: Callable[..., Profile], capsys: pytest.CaptureFixture[str]
) -> None:
    made = move(profile=str(log.with_name("start.json")), as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads(made.model_dump_json(by_alias=True))
