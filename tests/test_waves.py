"""Questions that are asked at once: each has its own verdict, retries, deadline and error."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from spans import listening, told

from energy_guard import Guard, Policy
from energy_guard.backends import Backend, Scripted
from energy_guard.errors import EngineBusyError, EngineError, InputError, PromptTooLongError
from energy_guard.events import AttemptStarted, Done, Retracted
from energy_guard.policy import EarlyStop
from energy_guard.request import CancelToken, Request
from energy_guard.waves import in_waves, result_of

SURE, DOUBTFUL = [("so", 0.9)], [("no", 0.1)]
RULES = Policy(detector="nll:max", warn=1.0, abstain=1.0)
TWICE = RULES.model_copy(update={"retries": 1})
QUESTIONS = ["who was that?", "why", "who was there, and for how long?", "x"]


def asked(question: str, **options: Any) -> Request:
    """A question whose answer comes to an end, after 3 to 17 tokens."""
    return Request.chat(question, stop=("^x", "*_", "eI"), **{"max_tokens": 30} | options)


def wave(guard: Guard, *prompts: Any) -> list[Any]:
    """The result of each question, or its error."""
    joined = [guard.question(prompt) for prompt in prompts]
    for _ in in_waves([question for question, _ in joined]):
        pass
    found: list[Any] = []
    for _, events in joined:
        try:
            found.append(result_of(events))
        except (InputError, EngineError) as error:
            found.append(error)
    return found


def test_a_wave_is_one_batch_with_the_answers_of_one_by_one(
    batching: Backend, batches: list[int]
) -> None:
    guard = Guard(batching, locator="whole")
    together = list(guard.ask_many(map(asked, QUESTIONS), at_once=4))
    assert batches == [4]
    for one, question in zip(together, QUESTIONS, strict=True):
        alone = guard.ask(asked(question))
        assert (one.answer, one.verdict) == (alone.answer, alone.verdict)
        assert alone.score is not None
        assert one.score == pytest.approx(alone.score, abs=1e-3)


def test_more_questions_are_more_waves_in_order(batching: Backend, batches: list[int]) -> None:
    guard = Guard(batching, locator="whole")
    together = guard.ask_many(map(asked, QUESTIONS), at_once=3)
    answers = [result.answer for result in together]
    assert batches == [3, 1]
    assert answers == [guard.ask(asked(question)).answer for question in QUESTIONS]


def test_waves_are_asked_as_they_are_wanted() -> None:
    guard = Guard(Scripted.saying(SURE, SURE), RULES)
    results = guard.ask_many(iter(["a?", "b?", "c?"]), at_once=2)
    assert [next(results).answer, next(results).answer] == ["so", "so"]
    with pytest.raises(EngineError):  # there is no third script
        next(results)


def test_what_was_answered_in_a_wave_is_told_whoever_goes_on_listening() -> None:
    spans, guard = listening(), Guard(Scripted.saying(SURE, SURE, SURE), RULES)
    results = guard.ask_many(["a?", "b?", "c?"], at_once=3)
    next(results)
    results.close()  # type: ignore[attr-defined]  # it is a generator
    assert len(spans.get_finished_spans()) == 3


def test_what_is_no_question_keeps_none_before_it_from_its_answer() -> None:
    prompts: list[Any] = ["a?", "b?", 5, "c?"]
    results = Guard(Scripted.saying(SURE, SURE), RULES).ask_many(prompts, at_once=4)
    assert [next(results).answer, next(results).answer] == ["so", "so"]
    with pytest.raises(InputError):
        next(results)


def test_who_is_tried_again_is_in_a_later_wave(batching: Backend, batches: list[int]) -> None:
    free = Guard(batching, Policy(detector="nll:max", warn=0.0), locator="whole")
    scores = [free.ask(asked(question)).score or 0.0 for question in QUESTIONS]
    limit = sorted(scores)[1] + 1e-2
    assert sorted(scores)[2] > limit
    batches.clear()
    policy = Policy(detector="nll:max", warn=limit, abstain=limit, retries=1)
    results = list(
        Guard(batching, policy, locator="whole").ask_many(map(asked, QUESTIONS), at_once=4)
    )
    assert batches == [4, 2]
    assert [len(result.attempts) for result in results] == [1 + (s > limit) for s in scores]


def test_retries_are_told_as_in_a_stream() -> None:
    def kinds(events: Any) -> list[Any]:
        return [
            type(event) for event in events if isinstance(event, Retracted | AttemptStarted | Done)
        ]

    scripts = [DOUBTFUL, SURE]
    question, events = Guard(Scripted.saying(*scripts), TWICE, locator="whole").question("?")
    assert list(in_waves([question])) == [[], [question]]
    streamed = Guard(Scripted.saying(*scripts), TWICE, locator="whole").stream("?")
    assert kinds(events) == kinds(streamed)


FALLS_BACK = TWICE.model_copy(update={"retry": ("fallback",)})


def test_a_fallback_is_asked_after_the_wave() -> None:
    other = Guard(Scripted.saying(SURE), RULES)
    first, second = wave(
        Guard(Scripted.saying(SURE, DOUBTFUL), FALLS_BACK, locator="whole", fallback=other),
        *("a?", "b?"),
    )
    assert (len(first.attempts), first.answer) == (1, "so")
    assert (len(second.attempts), second.answer) == (2, "so")


def test_a_result_does_not_wait_for_the_retries_of_later_questions() -> None:
    backend = Scripted.saying(SURE, DOUBTFUL, [("between", 0.9)], SURE)
    results = Guard(backend, TWICE, locator="whole").ask_many(["a?", "b?"], at_once=2)
    assert next(results).answer == "so"
    assert Guard(backend, RULES).ask("now?").answer == "between", "the retry was asked before"
    assert (last := next(results)).answer == "so"
    assert len(last.attempts) == 2


def test_results_come_in_order_though_an_earlier_one_asks_another_guard() -> None:
    other = Scripted.saying([("else", 0.9)])
    guard = Guard(Scripted.saying(DOUBTFUL, SURE), FALLS_BACK, fallback=Guard(other, RULES))
    assert [r.answer for r in guard.ask_many(["a?", "b?"], at_once=2)] == ["else", "so"]


def test_a_prompt_that_is_too_long_keeps_no_other_from_its_answer(batching: Backend) -> None:
    guard = Guard(batching, locator="whole")
    first, second, third = wave(guard, asked("why"), asked("long " * 500), asked("x"))
    assert isinstance(second, PromptTooLongError)
    assert [first.answer, third.answer] == [guard.ask(asked(q)).answer for q in ("why", "x")]


def test_who_cancels_ends_alone(batching: Backend, batches: list[int]) -> None:
    gone = CancelToken()
    gone.cancel()
    guard = Guard(batching, Policy(detector="nll:max", warn=9.0), locator="whole")
    first, second = wave(guard, asked("why", cancel=gone), asked("x"))
    assert (first.trace.finish_reason, first.verdict) == ("cancelled", "unscored")
    assert second.score is not None
    assert batches == [1]


def test_a_cancel_meanwhile_ends_one_row_within_a_token(
    batching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = CancelToken()
    forward, calls = batching.engine.forward, []

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 3:
            cancel.cancel()
        return forward(*args, **options)

    monkeypatch.setattr(batching.engine, "forward", counted)
    guard = Guard(batching, Policy(detector="nll:max", warn=9.0), locator="whole")
    first, second = wave(guard, asked("why", cancel=cancel), asked("x"))
    assert first.trace.finish_reason == "cancelled"
    assert len(first.trace) <= 4 < len(second.trace)


def test_each_has_its_own_deadline(batching: Backend) -> None:
    guard = Guard(batching, Policy(detector="nll:max", warn=9.0), locator="whole")
    first, second = wave(guard, asked("why", deadline=time.monotonic()), asked("x"))
    assert first.trace.finish_reason == "deadline"
    assert second.score is not None


def test_a_rule_ends_running_answers_of_a_wave(batching: Backend) -> None:
    policy = Policy(
        detector="nll:max", warn=9.0, early_stop=EarlyStop(window=2, risk=0.0), retries=0
    )
    results = wave(Guard(batching, policy, locator="whole"), asked("why"), asked("x"))
    assert {result.verdict for result in results} == {"abstain"}
    assert all(result.kept.stopped for result in results)


def test_an_engine_that_fails_fails_all_of_a_wave() -> None:
    failed = wave(Guard(Scripted.saying(), RULES), "a?", "b?")
    assert [type(error) for error in failed] == [EngineError, EngineError]


def test_an_engine_that_fails_later_takes_no_answer_back() -> None:
    guard = Guard(Scripted.saying(SURE, DOUBTFUL), TWICE, locator="whole")
    first, second, third = wave(guard, "a?", "b?", "c?")
    assert first.answer == "so"
    assert [type(error) for error in (second, third)] == [EngineError, EngineError]


def test_a_model_that_fails_in_a_batch_takes_no_answer_back_that_had_ended(
    batching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = batching.engine.forward, []

    def failing(*args: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 16:
            raise RuntimeError
        return forward(*args, **options)

    guard = Guard(batching, Policy(detector="nll:max", warn=9.0), locator="whole")
    lengths = [len(guard.ask(asked(question)).trace) for question in QUESTIONS]
    monkeypatch.setattr(batching.engine, "forward", failing)
    for found, length in zip(wave(guard, *map(asked, QUESTIONS)), lengths, strict=True):
        assert isinstance(found, EngineError) if length > 15 else len(found.trace) == length
    assert min(lengths) < 15 < max(lengths)


def test_a_question_of_a_wave_that_broke_off_is_an_error() -> None:
    _, events = Guard(Scripted.saying(SURE), RULES).question("?")
    with pytest.raises(EngineError, match="broke off"):
        result_of(events)


def test_each_question_of_a_wave_is_a_span() -> None:
    spans = listening()
    wave(Guard(Scripted.saying(SURE, DOUBTFUL), RULES, locator="whole"), "a?", "b?")
    found = [told(span)["energy_guard.verdict"] for span in spans.get_finished_spans()]
    assert found == ["accept", "abstain"]


def test_what_is_shared_is_for_questions_one_by_one() -> None:
    shared = [asked("a"), asked("b")]
    with pytest.raises(InputError, match="one by one"):
        list(Guard(Scripted.saying(SURE), RULES).ask_many(["a"], sharing=shared, at_once=2))


def test_an_engine_that_is_in_use_is_an_error_of_each(
    batching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_wait_s", 0.0)
    with batching.session(), ThreadPoolExecutor(1) as other:
        failed = other.submit(wave, Guard(batching, RULES), asked("why"), asked("x")).result()
    assert [type(error) for error in failed] == [EngineBusyError, EngineBusyError]


@pytest.mark.parametrize("why", ["deadline", "cancel"])
def test_a_wave_that_nobody_waits_for_does_not_wait_for_the_engine(why: str) -> None:
    backend, gone = Scripted.saying(SURE, SURE), CancelToken()
    gone.cancel()
    over: dict[str, Any] = {"cancel": gone} if why == "cancel" else {"deadline": 0.0}
    began = time.monotonic()
    with backend.session(), ThreadPoolExecutor(1) as other:
        asks = other.submit(wave, Guard(backend, RULES), asked("a", **over), asked("b", **over))
        assert [type(error) for error in asks.result()] == [EngineBusyError, EngineBusyError]
    assert time.monotonic() - began < 60, "as long as a call waits for an engine"


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_deadline_ends_the_waiting_for_the_engine_and_the_others_wait_on(at_once: int) -> None:
    backend = Scripted.saying(SURE, SURE)
    guard, patient = Guard(backend, RULES), asked("b")
    late = asked("a", deadline=time.monotonic() + 0.1)
    with ThreadPoolExecutor(2) as others:
        with backend.session():
            alone = others.submit(next, guard.ask_many([late, patient], at_once=at_once))
            together = others.submit(wave, guard, late, patient)
            with pytest.raises(EngineBusyError, match="out of time"):
                alone.result(20)
            time.sleep(0.5)
            assert not together.done()
        first, second = together.result()
    assert (type(first), second.answer) == (EngineBusyError, "so")


def test_no_questions_are_no_wave() -> None:
    assert list(in_waves([])) == []
    assert list(Guard(Scripted.saying(), RULES).ask_many([], at_once=4)) == []
