from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_contract import assert_same_trace
from tiny_gguf import write_tiny_gguf

from energy_guard import Guard, Policy, Profile, Request, Result
from energy_guard.backends import ModelInfo, Script, Scripted
from energy_guard.backends.locks import lock_of
from energy_guard.errors import ConfigError, EnergyGuardError, InputError, LogError
from energy_guard.fitted import DetectorTraining, FittedDetector, Term
from energy_guard.judge import Judge
from energy_guard.locate import Span
from energy_guard.log import LogEntry, TraceLog, read_log
from energy_guard.policy import EarlyStop
from energy_guard.private import SCORE_STEP
from energy_guard.request import Message
from energy_guard.score import Detector, Score, Unscored

PROGRAM = str(Path(sys.executable).with_name("energy-guard"))
QUESTION = "What is the capital of France?"
SURE = [("Par", 0.97), ("is", 0.99)]
DOUBTFUL = [("Ly", 0.2), ("on", 0.9)]
GUESSED = [("Nice", 0.05)]
LONG = [(word, 0.8) for word in ["The ", "capital ", "of ", "France ", "is ", "Paris", "."]]
EMPTY: list[tuple[str, float]] = []
BROKEN_UTF8 = Script((1, 0), np.eye(3, dtype=np.float32)[[1, 0]] * 9)
FULL = Path("/dev/full")


@pytest.fixture
def log(tmp_path: Path) -> TraceLog:
    return TraceLog(tmp_path / "log.jsonl")


def logged(log: TraceLog, *answers: list[tuple[str, float]], **settings: Any) -> list[Result]:
    guard = Guard(Scripted.saying(*answers), **settings, log=log)
    return [guard.ask(QUESTION, max_tokens=40) for _ in answers]


def rescored(entry: LogEntry, relocate: bool = False, **settings: Any) -> Result:
    judge = Judge.assemble(**settings)
    attempts = [judge.assess_stored(entry, relocate)]
    info = ModelInfo(**entry.result["model"])
    return judge.conclude(attempts, judge.final(attempts), info=info)


def test_what_is_appended_is_read_again(log: TraceLog) -> None:
    results = logged(log, SURE, DOUBTFUL, GUESSED, LONG, EMPTY)
    entries = list(read_log(log.path))
    assert len(entries) == len(log.path.read_text().splitlines()) == 5
    for entry, result in zip(entries, results, strict=True):
        assert_same_trace(entry.trace, result.trace)
        expected = result.to_dict()
        del expected["tokens"]
        assert entry.result == expected
        assert (entry.question, entry.locator, entry.label) == (QUESTION, "automatic", None)
        assert entry.located == (result.span or entry.located)


def test_choices_raw_texts_and_broken_bytes_are_kept(log: TraceLog) -> None:
    backend = Scripted([b"", b"caf\xc3", b"?"], [BROKEN_UTF8, BROKEN_UTF8], end=0)
    guard = Guard(backend, log=log)
    results = [
        guard.ask(Request.raw("Où ?\t日本", choices=("café", "thé"))),
        guard.ask(Request(ids=(1, 2, 3))),
    ]
    raw, ids = read_log(log.path)
    assert (raw.question, raw.choices, ids.question) == ("Où ?\t日本", ("café", "thé"), None)
    assert raw.trace.pieces == results[0].trace.pieces == (b"caf\xc3", b"")


def test_the_system_prompt_is_kept_with_the_texts_and_older_logs_do_not_say_it(
    tmp_path: Path,
) -> None:
    backend = Scripted.saying(SURE, SURE, SURE, SURE)
    chat = Request.chat([Message("system", "Be brief."), Message("user", QUESTION)])
    for texts, path in ((True, tmp_path / "a.jsonl"), (False, tmp_path / "b.jsonl")):
        guard = Guard(backend, log=TraceLog(path, texts=texts))
        guard.ask(chat)
        guard.ask(QUESTION)
    assert [e.system_prompt for e in read_log(tmp_path / "a.jsonl")] == ["Be brief.", ""]
    assert [e.system_prompt for e in read_log(tmp_path / "b.jsonl")] == [None, None]
    older = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    del older[0]["system_prompt"]
    (tmp_path / "older.jsonl").write_text(json.dumps(older[0]))
    assert [e.system_prompt for e in read_log(tmp_path / "older.jsonl")] == [None]


@pytest.mark.parametrize("text", ["a\u2028b", "a\x85b", "a\x0cb", "a\r\nb"], ids=ascii)
def test_a_text_with_any_kind_of_line_break_stays_on_its_line(log: TraceLog, text: str) -> None:
    backend = Scripted.saying([(text, 0.9)], SURE)
    guard = Guard(backend, log=log)
    guard.ask(text)
    guard.ask(QUESTION)
    first, second = read_log(log.path)
    assert (first.question, first.trace.text) == (text, text)
    assert second.question == QUESTION


def test_labels_are_read(log: TraceLog) -> None:
    logged(log, SURE, SURE, SURE)
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    for line, label in zip(lines, ("right", "wrong", None), strict=True):
        line["label"] = label
    log.path.write_text("\n\n".join(map(json.dumps, lines)))
    assert [entry.label for entry in read_log(log.path)] == ["right", "wrong", None]


def drop(name: str) -> Any:
    return lambda line: line.pop(name)


WRONG_LINES: dict[str, Any] = {
    "label": lambda line: line.update(label="maybe"),
    "no trace": drop("trace"),
    "no result": drop("result"),
    "trace of something else": lambda line: line.update(trace={"schema": 1}),
    "another schema": lambda line: line.update(schema=99),
    "no model": lambda line: line["result"].pop("model"),
    "no verdict": lambda line: line["result"].pop("verdict"),
    "span outside": lambda line: line["result"]["span"].update(tokens=[99]),
    "span before": lambda line: line["result"]["span"].update(tokens=[-1]),
    "empty span": lambda line: line["result"]["span"].update(tokens=[]),
    "span of texts": lambda line: line["result"]["span"].update(tokens=["0"]),
    "claim without tokens": lambda line: line.update(claims=[[]]),
    "question of numbers": lambda line: line.update(question=7),
}


@pytest.mark.parametrize("case", WRONG_LINES)
def test_a_wrong_line_is_named_with_its_file_and_number(log: TraceLog, case: str) -> None:
    logged(log, SURE, SURE)
    first, second = log.path.read_text().splitlines()
    line = json.loads(second)
    WRONG_LINES[case](line)
    log.path.write_text(f"{first}\n{json.dumps(line)}\n")
    with pytest.raises(InputError, match=r"log\.jsonl, line 2"):
        list(read_log(log.path))


@pytest.mark.parametrize("text", ["{", "[]", "null", "7", '"a"', "{}", "[" * 5000])
def test_a_line_that_is_no_entry_is_named(log: TraceLog, text: str) -> None:
    log.path.write_text(f"\n{text}\n")
    with pytest.raises(InputError, match=r"log\.jsonl, line 2"):
        list(read_log(log.path))


@pytest.mark.parametrize("behind", [b"", b"\n"], ids=["fused", "on its own line"])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_half_written_line_is_a_warning_and_the_other_entries_are_read(
    log: TraceLog, share: float, behind: bytes
) -> None:
    logged(log, SURE, DOUBTFUL)
    first, second = log.path.read_bytes().splitlines()
    half = second[: max(12, int(len(second) * share))]
    log.path.write_bytes(first + b"\n" + half + behind + second + b"\n" + half)
    reader = read_log(log.path)
    assert [entry.trace.text for entry in reader] == ["Paris", "Lyon"]
    last = 4 if behind else 3
    assert [warning.partition(": ")[0] for warning in reader.warnings] == [
        f"{log.path}, line 2",
        f"{log.path}, line {last}",
    ]
    assert len(list(reader)) == len(reader.warnings) == 2, "read twice, it is warned about once"
    logged(log, GUESSED)
    assert [entry.trace.text for entry in read_log(log.path)] == ["Paris", "Lyon", "Nice"]


def test_a_log_of_one_half_written_line_is_no_log(log: TraceLog) -> None:
    logged(log, SURE)
    log.path.write_bytes(log.path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"log\.jsonl, line 1: .* to its end"):
        list(read_log(log.path))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b"caf\xe9")
    for name in ("nowhere.jsonl", "latin.jsonl"):
        with pytest.raises(InputError, match=name):
            list(read_log(tmp_path / name))


VERDICTS = {"accept": SURE, "warn": DOUBTFUL, "abstain": GUESSED, "unscored": EMPTY}


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("verdict", VERDICTS)
def test_rescoring_gives_what_live_gave(log: TraceLog, verdict: str, private: bool) -> None:
    [live] = logged(replace(log, texts=not private), VERDICTS[verdict])
    [entry] = read_log(log.path)
    again = rescored(entry)
    assert live.verdict == again.verdict == verdict
    assert again.shown == live.shown
    if private and live.score is not None:
        assert again.score is not None
        assert live.score <= again.score < live.score + SCORE_STEP
    else:
        assert again.score == live.score
    if not private:
        assert again.to_dict() | {"reason": ""} == live.to_dict() | {"reason": ""}


def test_rescoring_a_stopped_answer_gives_what_live_gave(log: TraceLog) -> None:
    rule = EarlyStop(window=2, risk=0.1)
    policy = Policy(detector="nll:max", warn=1.0, abstain=2.0, early_stop=rule)
    [live] = logged(log, LONG, policy=policy)
    assert (live.trace.finish_reason, live.verdict) == ("stopped", "abstain")
    [entry] = read_log(log.path)
    again = rescored(entry, policy=policy)
    assert (again.verdict, again.score) == (live.verdict, live.score)


@pytest.mark.parametrize("name", ["entropy:mean", "margin:min", "nll:sum", "spilled_energy:max"])
def test_rescoring_with_another_detector_is_scoring_the_live_trace_with_it(
    log: TraceLog, name: str
) -> None:
    [live] = logged(log, LONG)
    assert live.span is not None and live.span.text == "Paris"
    expected = Detector.parse(name).score(live.trace, live.span)
    assert isinstance(expected, Score)
    [entry] = read_log(log.path)
    assert rescored(entry, detector=name).score == expected.value


def test_rescoring_with_another_locator_finds_the_answer_anew(log: TraceLog) -> None:
    [live] = logged(log, LONG)
    whole = Guard(Scripted.saying(LONG), locator="whole").ask(QUESTION)
    [entry] = read_log(log.path)
    again = rescored(entry, relocate=True, locator="whole")
    assert again.span == whole.span != live.span
    assert again.score == whole.score


def test_an_empty_answer_does_not_keep_another_locator_from_a_log_with_texts(
    log: TraceLog,
) -> None:
    logged(log, EMPTY)
    [entry] = read_log(log.path)
    assert rescored(entry, relocate=True, locator="whole").verdict == "unscored"


def profile(**changes: Any) -> Profile:
    calibration = {"slope": 1, "intercept": 0, "n": 98, "n_wrong": 40, "lowest": 0, "highest": 9}
    values: dict[str, Any] = {
        "model": Scripted.saying(LONG).info.fingerprint,
        "backend": "scripted",
        "mode": "chat",
        "detector": "nll:max",
        "locator": "automatic",
        "calibration": calibration,
    }
    return Profile(**values | changes)


@pytest.mark.parametrize("case", ["mode", "scoring", "locator"])
def test_a_profile_made_in_another_way_is_refused_for_a_log_too(tmp_path: Path, case: str) -> None:
    path, profile_path = tmp_path / "log.jsonl", tmp_path / "profile.json"
    guard = Guard(Scripted.saying(LONG), log=TraceLog(path))
    made = profile(locator="whole") if case == "locator" else profile()
    if case == "mode":
        guard.ask(Request.raw("The capital"))
    else:
        guard.score(QUESTION, "".join(word for word, _ in LONG), fast=case == "scoring")
    profile_path.write_text(made.model_dump_json(by_alias=True))
    done = run("score", "--from-log", path, "--profile", profile_path, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert case in done.stderr


def test_a_profile_gives_p_wrong_to_a_log(log: TraceLog) -> None:
    made = profile()
    [live] = logged(log, LONG, profile=made)
    assert live.p_wrong is not None
    [entry] = read_log(log.path)
    assert rescored(entry, profile=made).p_wrong == live.p_wrong


# Private logs.

SECRETS = ["Xanadu", "Kubla", "Khan", "dome", "Alph", "4711", "4712", "4713"]


def strings(data: object) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from (key, *strings(value))
    elif isinstance(data, list):
        for value in data:
            yield from strings(value)
    elif isinstance(data, str | int) and not isinstance(data, bool):
        yield str(data)


@pytest.mark.parametrize("likely", [99.0, 5.0, 0.0], ids=["accepted", "warned", "withheld"])
def test_a_private_log_has_no_text_and_no_ids(tmp_path: Path, likely: float) -> None:
    vocabulary = [b""] * 4711 + [b"Xanadu", b" Kubla", b" Khan"]
    rows = np.zeros((4, len(vocabulary)), np.float32)
    for t, token in enumerate((4711, 4712, 4713, 0)):
        rows[t, token] = likely + 2.0
    backend = Scripted(vocabulary, [Script((4711, 4712, 4713, 0), rows)] * 2, end=0)
    policy = Policy(detector="nll:max", warn=1.0, abstain=5.0, retries=1, warning_text="dome dome")
    path = tmp_path / "log.jsonl"
    request = Request.chat(
        "Where is Alph?", context=("Alph flows there.",), stop=("Alph",), choices=()
    )
    result = Guard(backend, policy, log=TraceLog(path, texts=False)).ask(request)
    text = path.read_text()
    found = list(strings(json.loads(text)))
    assert not [s for s in found for secret in SECRETS if secret in s]
    assert result.reason not in text
    assert result.text not in text
    [entry] = read_log(path)
    assert len(entry.trace) == 0, "the numbers of its tokens would give the answer away"
    assert entry.located.reason == "there was none when this was logged"
    assert not entry.texts
    exact = {repr(value) for value in (result.score, result.p_wrong) if value}
    assert not exact & set(re.findall(r"-?\d+\.\d+", text)), "a score that is exact gives away, too"
    assert "prompt_tokens" not in text or json.loads(text)["result"]["prompt_tokens"] is None
    assert all(json.loads(line)["result"]["content_end"] is None for line in text.splitlines())


def of_a_private_log(log: TraceLog, *answers: Any, **settings: Any) -> list[LogEntry]:
    logged(replace(log, texts=False), *answers, **settings)
    return list(read_log(log.path))


@pytest.mark.parametrize("answer", [SURE, DOUBTFUL, GUESSED, LONG], ids=str)
def test_a_private_log_is_scored_again_by_the_detector_in_use_and_the_default_one(
    log: TraceLog, answer: list[tuple[str, float]]
) -> None:
    settings: dict[str, Any] = {"detector": "entropy:mean"}
    [live], [usual] = (
        logged(TraceLog(log.path.with_name(f"{n}.jsonl")), answer, **options)
        for n, options in enumerate((settings, {}))
    )
    [entry] = of_a_private_log(log, answer, **settings)
    again = rescored(entry, **settings)
    assert live.score is not None and usual.score is not None
    assert live.score <= again.score < live.score + SCORE_STEP
    assert (again.verdict, again.scored) == (live.verdict, live.scored)
    default = rescored(entry)
    assert usual.score <= default.score < usual.score + SCORE_STEP


def test_what_a_private_log_does_not_keep_is_named_and_unscored(log: TraceLog) -> None:
    [entry] = of_a_private_log(log, LONG)
    other = rescored(entry, detector="margin:min")
    assert (other.verdict, other.score, other.shown) == ("unscored", None, False)
    assert "nll:max" in other.reason and "margin:min" in other.reason
    stop = EarlyStop(window=2, risk=50.0)
    stopping = rescored(entry, policy=Policy(detector="nll:max", warn=1, early_stop=stop))
    assert (stopping.verdict, "early stop" in stopping.reason) == ("unscored", True)


def fitted() -> Profile:
    terms = [
        Term(feature=name, centre=0.2, scale=1, weight=weight)
        for name, weight in (("span.nll:max", 1.0), ("answer.entropy:mean", 0.3))
    ]
    training = DetectorTraining(tasks=("capitals",), n=98, n_wrong=40)
    detector = FittedDetector(terms=terms, intercept=0.1, training=training)
    calibration = {"slope": 1, "intercept": 0, "n": 98, "n_wrong": 40, "lowest": -9, "highest": 9}
    return profile(detector=detector.name, fitted=detector, calibration=calibration)


@pytest.mark.parametrize("answer", [SURE, DOUBTFUL, LONG], ids=str)
def test_a_private_log_is_scored_again_under_a_fitted_profile(
    log: TraceLog, answer: list[tuple[str, float]]
) -> None:
    made = fitted().model_copy(update={"model": Scripted.saying(answer).info.fingerprint})
    [live] = logged(TraceLog(log.path.with_name("whole.jsonl")), answer, profile=made)
    [entry] = of_a_private_log(log, answer, profile=made)
    again = rescored(entry, profile=made)
    assert live.p_wrong is not None
    assert live.p_wrong <= again.p_wrong < live.p_wrong + SCORE_STEP / 4
    severity = ["accept", "warn", "abstain"]
    assert severity.index(again.verdict) >= severity.index(live.verdict), "rounded up, never down"


def test_another_fitted_profile_says_what_a_private_log_lacks(log: TraceLog) -> None:
    [entry] = of_a_private_log(log, LONG)
    again = rescored(entry, profile=fitted())
    assert (again.verdict, again.p_wrong) == ("unscored", None)
    assert fitted().detector in again.reason


def test_a_private_log_of_0_1_under_a_fitted_profile_says_what_is_missing() -> None:
    entry = next(iter(read_log(Path(__file__).with_name("files_of_0_1") / "private_log.jsonl")))
    detector = fitted().fitted
    assert detector is not None
    score = detector.score(entry.trace, Span((0,), ""))
    assert isinstance(score, Unscored)
    assert "answer.entropy:mean" in score.reason


def test_another_locator_is_refused_on_a_private_log(log: TraceLog) -> None:
    logged(replace(log, texts=False), LONG)
    [entry] = read_log(log.path)
    with pytest.raises(ConfigError, match="no texts") as caught:
        rescored(entry, relocate=True, locator="whole")
    assert "--locator" in caught.value.hint


# Writing that fails.


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_a_log_error_and_the_engine_is_free() -> None:
    backend = Scripted.saying(SURE, SURE)
    guard = Guard(backend, log=TraceLog(FULL))
    with pytest.raises(LogError, match="/dev/full") as caught:
        guard.ask(QUESTION)
    assert "No space left" in caught.value.message
    assert caught.value.hint
    assert not lock_of(backend).locked
    assert Guard(backend).ask(QUESTION).verdict == "accept"


def test_a_log_in_a_folder_that_is_missing_is_a_log_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="nowhere"):
        logged(TraceLog(tmp_path / "nowhere" / "log.jsonl"), SURE)


# The command line.


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("m") / "endless.gguf", eos_bias=-50.0)


def run(*args: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *args], input=stdin, capture_output=True, text=True, timeout=120, check=False
    )


def test_ask_writes_a_log_that_score_judges_alike(model: Path, tmp_path: Path) -> None:
    path, args = tmp_path / "log.jsonl", ("--model", model, "--json", "--max-tokens", "8")
    asked = [run("ask", word, *args, "--log", path) for word in ("cat", "dog")]
    live = [json.loads(done.stdout) for done in asked]
    done = run("score", "--from-log", path, "--json")
    assert done.returncode == 0, "of a log it says nothing about one answer"
    again = json.loads(done.stdout)["results"]
    assert [one.pop("label") for one in again] == [None, None]
    assert again == live
    table = run("score", "--from-log", path)
    assert table.returncode == 0
    assert "cat" in table.stdout and "dog" in table.stdout
    assert run("score", "--from-log", path, "--locator", "whole").returncode == 0


def test_scoring_a_log_says_which_line_was_cut_off(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    asked = run("ask", "cat", "--model", model, "--max-tokens", "8", "--log", path)
    assert asked.returncode == 3, "the model never ends, so its answer is cut off"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open("ab") as file:
        file.write(path.read_bytes()[:200])
    done = run("score", "--from-log", path, "--json")
    assert done.returncode == 0
    assert len(json.loads(done.stdout)["results"]) == 1
    assert f"{path}, line 2: this was not written to its end" in done.stderr


def test_score_prints_the_object_of_ask_and_exits_with_3_where_it_abstains(
    model: Path, tmp_path: Path
) -> None:
    asked = json.loads(run("ask", "cat", "--model", model, "--json", "--max-tokens", "6").stdout)
    args = ("score", "--prompt", "cat", "--model", model, "--json")
    given, read = run(*args, "--answer", asked["answer"]), run(*args, "--answer", "-", stdin="th")
    scored = json.loads(given.stdout)
    assert set(scored) == set(asked)
    assert "".join(token["text"] for token in scored["tokens"]) == scored["answer"]
    assert (scored["answer"], scored["attempts"]) == (asked["answer"], 1)
    assert scored["prompt_tokens"] == asked["prompt_tokens"]
    assert json.loads(read.stdout)["answer"] == "th"
    for limits, status in (("warn = 1000", 0), ("warn = -2\nabstain = -1", 3)):
        policy = tmp_path / "policy.toml"
        policy.write_text(f'detector = "nll:max"\n{limits}\n')
        done = run(*args, "--answer", "th", "--policy", policy)
        assert done.returncode == status
        assert json.loads(done.stdout)["text"] == (
            "th" if status == 0 else Policy().abstention_text
        )


def test_a_private_log_is_written_and_judged(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    args = ("--prompt", "catalogue", "--answer", "doghouse", "--model", model)
    assert run("score", *args, "--log", path, "--log-private").returncode in (0, 3)
    assert "catalogue" not in path.read_text() and "doghouse" not in path.read_text()
    assert run("score", "--from-log", path).returncode == 0
    refused = run("score", "--from-log", path, "--locator", "whole")
    assert (refused.returncode, "no texts" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["ask", "Hi", "--log-private"], "--log FILE"),
        (["score", "--prompt", "a", "--answer", "b", "--log-private"], "--log FILE"),
        (["score", "--prompt", "a"], "--answer"),
        (["score"], "--from-log"),
        (["score", "--from-log", "nowhere.jsonl"], "nowhere.jsonl"),
        (["score", "--prompt", "a", "--answer", ""], "empty"),
        (["score", "--prompt", "", "--answer", "b"], "empty"),
    ],
)
def test_bad_use_is_refused(model: Path, args: list[str], named: str) -> None:
    done = run(*args, *([] if "--from-log" in args else ["--model", str(model)]))
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_that_cannot_be_opened_is_refused_before_the_answer(
    model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "nowhere" / "log.jsonl"
    done = run("ask", "Hi", "--model", model, "--max-tokens", "2", "--log", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk at hand")
def test_a_full_disk_is_a_failure(model: Path) -> None:
    done = run("ask", "Hi", "--model", model, "--max-tokens", "2", "--log", "/dev/full")
    assert done.returncode == 1
    assert "No space left" in done.stderr and "Traceback" not in done.stderr
    assert issubclass(LogError, EnergyGuardError) and not issubclass(LogError, InputError)
