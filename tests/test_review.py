"""What a strict reader of the code found: each case once went wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from llama_cpp import Llama
from tiny_gguf import write_tiny_gguf

from energy_guard import Guard, Policy, Profile, Request, capture, load
from energy_guard.backends import Script, Scripted
from energy_guard.backends.scripted import _row
from energy_guard.errors import EngineBusyError, LogError, MismatchError, NormalisedRowsError
from energy_guard.locate import Asked, NotLocated, quote, whole
from energy_guard.log import TraceLog, read_log
from energy_guard.policy import EarlyStop
from energy_guard.trace import Step, Trace

WEAK = [
    ("The", 0.9),
    (" capital", 0.9),
    (" of", 0.9),
    (" France", 0.9),
    (" is", 0.9),
    (" Lyon", 0.05),
    (".", 0.9),
]
QUESTION = "What is the capital of France?"
LIMITS = {"detector": "nll:max", "warn": 1.0, "abstain": 2.0}


def test_a_retry_with_feedback_is_judged_against_the_first_question() -> None:
    guard = Guard(Scripted.saying(WEAK, WEAK), Policy(**LIMITS, retries=1, retry=("feedback",)))
    result = guard.ask(QUESTION)
    assert (result.verdict, len(result.attempts)) == ("abstain", 2)
    assert {attempt.located.text for attempt in result.attempts} == {"Lyon"}  # type: ignore[union-attr]


def test_feedback_that_does_not_fit_is_left_out() -> None:
    backend = Scripted.saying(WEAK, [("Par", 0.9), ("is", 0.9)], context=20)
    result = Guard(backend, Policy(**LIMITS, retries=1, retry=("feedback",))).ask(QUESTION)
    assert (result.verdict, result.answer) == ("accept", "Paris")


def test_two_streams_inside_a_capture_do_not_mix(tiny_path: Path) -> None:
    llm = Llama(str(tiny_path), n_ctx=256, n_threads=1, n_threads_batch=1, verbose=False)
    guard = Guard(llm)
    with capture(llm):
        stream = guard.stream(Request.raw("the cat", max_tokens=8))
        next(stream)
        next(stream)
        with pytest.raises(EngineBusyError, match="still open"):
            guard.ask(Request.raw("a dog", max_tokens=4))
        stream.close()
        assert guard.ask(Request.raw("a dog", max_tokens=4)).trace.ids.size


def test_a_quote_that_was_interrupted_accepts_nothing() -> None:
    def interrupted(prompt: str) -> str:
        from energy_guard.errors import PromptError

        raise PromptError("the reply is not complete (cancelled)")

    trace = Guard(Scripted.saying([("Paris", 0.99)])).ask(QUESTION).trace
    located = quote(trace, Asked(QUESTION, ask=interrupted))
    assert isinstance(located, NotLocated)


def test_reasoning_that_the_template_opened_is_no_answer() -> None:
    step = Step(0, b"Okay, the user asks", 1.0, _reduced())
    assert isinstance(whole(Trace.from_steps([step], reasoning_open=True), Asked()), NotLocated)
    assert not isinstance(whole(Trace.from_steps([step]), Asked()), NotLocated)


def test_fast_replay_keeps_to_the_engines_batch(tiny_path: Path) -> None:
    backend = load(str(tiny_path), n_ctx=256, n_batch=8, n_threads=1, n_threads_batch=1)
    result = Guard(backend).score(
        Request.raw("the cat"), "sat on the mat and looked at me", fast=True
    )
    assert len(result.trace) > 8


def test_an_energy_of_log_probabilities_is_an_error_under_every_name() -> None:
    row = _row(4, 1, 0.7)
    row = row - np.log(np.exp(row).sum())
    trace = (
        Guard(Scripted([b"", b"a", b"b", b"c"], [Script((1,), np.stack([row, row]))]))
        .ask("?")
        .trace
    )
    with pytest.raises(NormalisedRowsError):
        _ = trace.spilled_energy
    assert trace.nll.size == 1


def test_score_and_log_follow_the_early_stop_rule_as_ask_does(tmp_path: Path) -> None:
    answer = [("a", 0.9), (" b", 0.1), (" c", 0.1), (" d", 0.9), (" e", 0.9)]
    rule = Policy(**LIMITS | {"warn": 90, "abstain": 99}, early_stop=EarlyStop(window=2, risk=2))
    log = TraceLog(tmp_path / "log.jsonl")
    assert Guard(Scripted.saying(answer), rule).ask("?").verdict == "abstain"
    assert Guard(Scripted.saying(answer), rule).score("?", "a b c d e").verdict == "abstain"
    assert Guard(Scripted.saying(answer), log=log).ask("?").answer == "a b c d e"
    [entry] = read_log(log.path)
    judge = Guard(Scripted.saying(), rule).judge
    assert judge.final([judge.assess_stored(entry, relocate=False)]).__class__.__name__ == "Abstain"


def test_reasoning_trips_no_early_stop() -> None:
    answer = [("<think>", 0.9), (" hm", 0.1), (" what", 0.1), ("</think>", 0.9), ("Paris", 0.95)]
    policy = Policy(**LIMITS, early_stop=EarlyStop(window=2, risk=2))
    assert Guard(Scripted.saying(answer), policy).ask("?").verdict == "accept"


@pytest.mark.parametrize("mark", ["<think>", "[THINK]", "<seed:think>"])
def test_a_template_that_opens_reasoning_is_seen(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "thinking.gguf"
    write_tiny_gguf(path, chat_template="{{ messages[-1]['content'] }}\n" + mark + "\n")
    backend = load(str(path), n_ctx=256, n_threads=1, n_threads_batch=1)
    assert backend.measure(Request.chat("the cat")).opens_reasoning
    policy = Policy(**LIMITS, early_stop=EarlyStop(window=2, risk=0.0))
    result = Guard(backend, policy).ask("the cat", max_tokens=8)
    assert (result.verdict, result.trace.finish_reason) == ("unscored", "length")
    assert result.trace.reasoning_open


def test_a_profile_of_best_of_n_judges_no_single_answer() -> None:
    backend = Scripted.saying([("Paris", 0.9)])
    profile = Profile(
        model=backend.info.fingerprint, backend="scripted", mode="chat", detector="nll:max",
        locator="whole", retries=2,
        calibration={"slope": 1, "intercept": 0, "n": 98, "n_wrong": 40, "lowest": 0, "highest": 9},
    )  # fmt: skip
    guard = Guard(backend, Policy(on="p_wrong", warn=0.2, abstain=0.5, retries=2), profile=profile)
    with pytest.raises(MismatchError, match="retries"):
        guard.score("?", "Paris")


def test_a_result_that_could_not_be_logged_is_not_lost(tmp_path: Path) -> None:
    guard = Guard(Scripted.saying([("Paris", 0.99)]), log=TraceLog(tmp_path / "no" / "log.jsonl"))
    with pytest.raises(LogError) as caught:
        guard.ask("?")
    assert caught.value.result.text == "Paris"  # type: ignore[attr-defined]


def test_a_line_that_was_broken_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    log = TraceLog(tmp_path / "log.jsonl")
    log.path.write_text('{"half": ')
    Guard(Scripted.saying([("Paris", 0.99)]), log=log).ask("?")
    assert len(log.path.read_text().splitlines()) == 2


def test_a_private_log_does_not_name_what_the_locator_looks_for(tmp_path: Path) -> None:
    log = TraceLog(tmp_path / "log.jsonl", texts=False)
    Guard(Scripted.saying([("Paris", 0.99)]), locator="labels:Paris,Lyon", log=log).ask("?")
    assert "Paris" not in log.path.read_text()


def test_what_follows_an_end_token_is_no_content(tiny_path: Path) -> None:
    backend = load(str(tiny_path), n_ctx=256, n_threads=1, n_threads_batch=1)
    end = backend.engine.token_eos()  # type: ignore[attr-defined]
    ids = backend.engine.tokenize(b"cat", add_bos=False)  # type: ignore[attr-defined]
    trace = Guard(backend).score(Request.raw("the"), [*ids, end, *ids, end]).trace
    assert trace.text == "cat"


def _reduced() -> object:
    from energy_guard.energy import Row

    return Row(2.0, 0.0, 0.1, 1.0)
