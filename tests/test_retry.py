from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from energy_guard import Guard, Message, Policy, Profile, Request, Result, Sampling, load
from energy_guard.backends import Script, Scripted
from energy_guard.backends.locks import lock_of
from energy_guard.decide import Again, Attempt, NotScored, next_move
from energy_guard.errors import ConfigError, MismatchError
from energy_guard.events import AttemptStarted, Done, GuardEvent, Retracted, Text
from energy_guard.locate import NotLocated
from energy_guard.log import TraceLog, read_log
from energy_guard.request import Event
from energy_guard.score import Unscored
from energy_guard.trace import Trace

SURE = [("Par", 0.97), ("is", 0.99)]
GUESSED = [("Nice", 0.05)]  # nll 3.0
WILD = [("Lille", 0.01)]  # nll 4.6
EMPTY: list[tuple[str, float]] = []
QUESTION = "What is the capital of France?"


class Recording(Scripted):
    """Remembers what it was asked."""

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        self.asked.append(replace(request, cancel=None))
        return super()._play(number, request, script)

    @property
    def asked(self) -> list[Request]:
        found: list[Request] = vars(self).setdefault("asked_so_far", [])
        return found


def policy(**changes: Any) -> Policy:
    return Policy(**{"detector": "nll:max", "warn": 1.0, "abstain": 2.0} | changes)


def result_of(events: Sequence[GuardEvent]) -> Result:
    done = events[-1]
    assert isinstance(done, Done)
    return done.result


def numbers(events: Sequence[GuardEvent], kind: type[AttemptStarted | Retracted]) -> list[int]:
    return [event.attempt for event in events if isinstance(event, kind)]


def test_the_kinds_of_retry_are_used_in_order_and_the_last_one_serves_on() -> None:
    backend = Recording.saying(*[WILD] * 5)
    Guard(backend, policy(retries=4, retry=("resample", "feedback"))).ask(QUESTION)
    assert [len(request.messages or ()) for request in backend.asked] == [1, 1, 3, 3, 3]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_there_are_no_more_attempts_than_allowed(retries: int) -> None:
    backend = Recording.saying(*[WILD] * 9)
    events = list(Guard(backend, policy(retries=retries)).stream(QUESTION))
    assert len(backend.asked) == len(result_of(events).attempts) == retries + 1
    assert numbers(events, AttemptStarted) == list(range(retries + 1))
    assert numbers(events, Retracted) == list(range(retries + 1)), "the last one is withheld too"


def test_feedback_names_the_weak_span_after_the_question_and_the_last_answer() -> None:
    system = Message("system", "Be brief.")
    asked = Request.chat([system, Message("user", QUESTION)], context=("Paris is in France.",))
    backend = Recording.saying(WILD, GUESSED, SURE)
    guard = Guard(backend, policy(retries=2, retry=("feedback",), feedback_text="Not “{span}”?"))
    assert guard.ask(asked, max_tokens=9).answer == "Paris"
    for request, said in zip(backend.asked[1:], ("Lille", "Nice"), strict=True):
        question = asked.turns()[-1]
        assert "Paris is in France." in question.content
        assert request.turns() == (
            system,
            question,
            Message("assistant", said),
            Message("user", f"Not “{said}”?"),
        ), "the passages stand once, before the question; earlier retries are left out"
        assert request.max_tokens == 9


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (Request.raw("The capital of France is"), WILD),
        (Request(ids=(1, 2)), WILD),
        (Request.chat(QUESTION), EMPTY),
    ],
    ids=["raw text", "ids", "nothing located"],
)
def test_without_a_chat_or_a_span_feedback_becomes_another_sample(
    request_: Request, answer: list[tuple[str, float]]
) -> None:
    backend = Recording.saying(answer, SURE)
    guard = Guard(backend, policy(retries=1, retry=("feedback",), retry_temperature=0.4))
    assert guard.ask(request_, sampling=Sampling(seed=5)).verdict == "accept"
    second = Sampling(temperature=0.4, seed=6)
    assert backend.asked[1] == replace(request_, sampling=second)


def test_a_resample_after_feedback_asks_the_first_question_again() -> None:
    backend = Recording.saying(WILD, WILD, WILD)
    Guard(backend, policy(retries=2, retry=("feedback", "resample"))).ask(QUESTION)
    assert backend.asked[2].messages == backend.asked[0].messages


def test_a_fallback_takes_over_with_its_own_detector_policy_and_model() -> None:
    own = Policy(detector="entropy:mean", warn=5.0, abstain=9.0, retries=1)
    second = Guard(Scripted.saying([("Rome", 0.9)], SURE), own)
    first_backend = Recording.saying(WILD, GUESSED)
    first = Guard(first_backend, policy(retries=2, retry=("resample", "fallback")), fallback=second)
    events = []
    for event in first.stream(QUESTION):
        if event == AttemptStarted(2):
            assert not lock_of(first_backend).locked, "the first engine is not needed any more"
        events.append(event)
    result = result_of(events)
    assert numbers(events, AttemptStarted) == [0, 1, 2]
    assert numbers(events, Retracted) == [0, 1]
    assert [e.attempt for e in events if isinstance(e, Text)] == [0, 1, 2]
    assert (result.verdict, result.answer, result.detector) == ("accept", "Rome", "entropy:mean")
    assert [attempt.trace.text for attempt in result.attempts] == ["Lille", "Nice", "Rome"]
    assert result.model == second.backend.info != first.backend.info
    assert result.policy is second.policy
    assert len(first_backend.asked) == 2


def test_a_fallback_retries_by_its_own_policy_and_asks_the_first_question() -> None:
    backend = Recording.saying(GUESSED, WILD)
    second = Guard(backend, policy(retries=1, abstention_text="Neither of us knows."))
    first = Guard(
        Scripted.saying(WILD, WILD),
        policy(retries=3, retry=("feedback", "fallback")),
        fallback=second,
    )
    events = list(first.stream(QUESTION))
    result = result_of(events)
    assert numbers(events, AttemptStarted) == [0, 1, 2, 3]
    assert (result.text, result.answer) == ("Neither of us knows.", "Nice")
    assert [request.question for request in backend.asked] == [QUESTION, QUESTION]


def test_both_guards_may_share_one_engine() -> None:
    backend = Scripted.saying(WILD, SURE)
    first = Guard(backend, policy(retries=1, retry=("fallback",)), fallback=Guard(backend))
    assert first.ask(QUESTION).verdict == "accept"


def test_a_policy_with_a_fallback_needs_one_only_where_it_retries() -> None:
    chosen = policy(retries=1, retry=("resample", "fallback"))
    with pytest.raises(ConfigError, match="fallback"):
        Guard(Scripted.saying(), chosen)
    assert Guard(Scripted.saying(), chosen.model_copy(update={"retries": 0})).fallback is None


def test_the_log_of_a_guard_has_what_its_fallback_answered(tmp_path: Path) -> None:
    log = TraceLog(tmp_path / "log.jsonl")
    chosen = policy(retries=1, retry=("fallback",))
    second = Guard(Scripted.saying(SURE))
    Guard(Scripted.saying(WILD), chosen, fallback=second, log=log).ask(QUESTION)
    assert log.path.exists(), "every result is appended"
    assert [entry.result["answer"] for entry in read_log(log.path)] == ["Paris"]


def test_the_profile_of_a_fallback_is_refused_for_another_way_of_asking() -> None:
    backend = Scripted.saying(SURE)
    calibration = {
        "slope": 1.0,
        "intercept": -5.0,
        "n": 98,
        "n_wrong": 40,
        "lowest": 0.0,
        "highest": 5.0,
    }
    profile = Profile(
        model=backend.info.fingerprint,
        backend="scripted",
        mode="chat",
        detector="nll:max",
        locator="automatic",
        calibration=calibration,  # type: ignore[arg-type]
    )
    second = Guard(backend, profile=profile)
    chosen = policy(retries=1, retry=("fallback",))
    with pytest.raises(MismatchError, match="mode"):
        Guard(Scripted.saying(WILD), chosen, fallback=second).ask(Request.raw("The capital is"))


def test_the_deadline_of_a_fallbacks_policy_holds() -> None:
    slow = [("a", 0.9)] * 3
    second = Guard(Scripted.saying(slow), policy(deadline_s=0.3))
    chosen = policy(retries=1, retry=("fallback",))
    events = []
    for event in Guard(Scripted.saying(WILD), chosen, fallback=second).stream(QUESTION):
        if isinstance(event, Text) and event.attempt == 1:
            time.sleep(0.32)
        events.append(event)
    assert result_of(events).trace.finish_reason == "deadline"


def test_the_deadline_ends_the_retries() -> None:
    long = [("a", 0.001)] * 5
    events = []
    for event in Guard(Scripted.saying(long, long), policy(retries=5, deadline_s=0.3)).stream(
        QUESTION
    ):
        if isinstance(event, Text):
            time.sleep(0.32)
        events.append(event)
    result = result_of(events)
    assert (result.verdict, result.shown, len(result.attempts)) == ("unscored", False, 1)
    assert result.trace.finish_reason == "deadline"
    assert result.text == result.policy.abstention_text


def test_a_retry_that_the_deadline_cuts_is_the_last() -> None:
    events = []
    guard = Guard(Scripted.saying(WILD, SURE, SURE), policy(retries=5, deadline_s=0.3))
    for event in guard.stream(QUESTION):
        if isinstance(event, Retracted):
            time.sleep(0.32)
        events.append(event)
    result = result_of(events)
    assert [a.trace.finish_reason for a in result.attempts] == ["eos", "deadline"]
    assert (result.verdict, result.shown, result.answer) == ("abstain", False, "Lille")


def test_the_earlier_of_two_deadlines_counts() -> None:
    backend = Recording.saying(SURE, SURE)
    guard = Guard(backend, policy(deadline_s=1000.0))
    soon = time.monotonic() + 100
    guard.ask(QUESTION, deadline=soon)
    guard.ask(QUESTION, deadline=soon + 2000)
    first, second = (request.deadline for request in backend.asked)
    assert first == soon
    assert second is not None and second < soon + 1000


def test_the_least_risky_attempt_is_kept_and_the_later_text_retracted() -> None:
    guard = Guard(Scripted.saying(GUESSED, WILD, EMPTY), policy(retries=2))
    events = list(guard.stream(QUESTION))
    result = result_of(events)
    assert (result.verdict, result.answer, result.kept) == (
        "abstain",
        "Nice",
        result.attempts[0],
    )
    assert numbers(events, Retracted) == [0, 1, 2]


def nothing_to_check() -> Attempt:
    reason = "there is nothing to check"
    trace = Trace.from_steps([], finish_reason="eos")
    return Attempt(trace, NotLocated(reason), Unscored(reason, nothing_to_check=True))


def test_an_answer_with_nothing_to_check_is_shown_and_not_tried_again() -> None:
    move = next_move(policy(retries=3), [nothing_to_check()])
    assert isinstance(move, NotScored)
    assert move.show


def test_an_answer_with_nothing_to_check_is_withheld_where_the_policy_says_so() -> None:
    strict = policy(nothing_to_check="withhold", unscored="show")
    move = next_move(strict, [nothing_to_check()])
    assert isinstance(move, NotScored)
    assert not move.show
    again = next_move(policy(nothing_to_check="withhold", retries=1), [nothing_to_check()])
    assert isinstance(again, Again)


# A model.


@pytest.fixture(scope="module")
def tiny(tiny_path: Path) -> Iterator[Any]:
    backend = load(tiny_path, n_ctx=256, n_threads=1, n_threads_batch=1)
    yield backend
    backend.engine.close()  # type: ignore[attr-defined]


NEVER = {"warn": -2.0, "abstain": -1.0}
"""Limits that withhold every answer."""


def test_a_seed_makes_retries_repeatable_and_different_from_each_other(tiny: Any) -> None:
    guard = Guard(tiny, policy(**NEVER, retries=2, retry_temperature=2.0))

    def ids(seed: int) -> list[list[int]]:
        tiny.engine.reset()
        sampling = Sampling(temperature=2.0, seed=seed)
        result = guard.ask("the cat", max_tokens=12, sampling=sampling)
        return [attempt.trace.ids.tolist() for attempt in result.attempts]

    first = ids(7)
    assert first == ids(7)
    assert len({tuple(one) for one in first}) == 3
    assert first[1:] == ids(8)[:2], "a retry is what its own seed gives"


def test_a_retry_reads_no_prompt_a_second_time(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, evaluated = tiny.engine, []
    original = engine.eval

    def counting(ids: Sequence[int]) -> None:
        evaluated.append(len(ids))
        original(ids)

    monkeypatch.setitem(vars(engine), "eval", counting)
    engine.reset()
    guard = Guard(tiny, policy(**NEVER, retries=2))
    result = guard.ask("the cat sat on the mat", max_tokens=6)
    assert len(result.attempts) == 3
    prompt = result.trace.prompt_tokens
    assert prompt > 20
    assert evaluated[0] == prompt
    later = sum(len(attempt.trace) + 1 for attempt in result.attempts)
    assert sum(evaluated[1:]) <= later, "at most one prompt token, and the answer's own"


def test_nobody_gets_in_between_two_attempts(tiny: Any) -> None:
    order: list[str] = []
    guard = Guard(tiny, policy(**NEVER, retries=2))

    def other() -> None:
        Guard(tiny).ask("dog", max_tokens=2)
        order.append("other")

    thread = threading.Thread(target=other)
    for event in guard.stream("the cat", max_tokens=4):
        if event == AttemptStarted(0):
            thread.start()
        if isinstance(event, AttemptStarted):
            time.sleep(0.05)  # lets the other thread in, if anything does
            order.append("attempt")
    thread.join(30)
    assert order == ["attempt"] * 3 + ["other"]
