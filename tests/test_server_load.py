"""The benchmark under load finds what it looks for: a check that cannot fail shows nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from served import LAX, served

from benchmarks.server_load import Asking, Outcome, difference, read_answer
from energy_guard import Guard, Result
from energy_guard.backends import Scripted

ANSWER = [("Yes", 0.99)]


def result_of(*script: tuple[str, float]) -> Result:
    return Guard(Scripted.saying([*script]), LAX).ask("?")


@pytest.fixture
def alone() -> Result:
    return result_of(*ANSWER)


@pytest.fixture
def outcome(alone: Result) -> Outcome:
    return Outcome(Asking.of(0), "answered", 0.1, 0, alone.text, alone.to_dict("full"))


def test_an_answer_that_is_the_same_does_not_differ(outcome: Outcome, alone: Result) -> None:
    assert difference(outcome, alone) is None


def test_the_words_of_another_request_differ(outcome: Outcome, alone: Result) -> None:
    assert difference(replace(outcome, said="No"), alone) is not None


def test_the_tokens_of_another_request_differ(outcome: Outcome) -> None:
    assert difference(outcome, result_of(("Yes", 0.99), ("!", 0.99))) is not None


@pytest.mark.parametrize("score", [1e-5, None])
def test_another_score_differs_and_so_does_a_missing_one(
    outcome: Outcome, alone: Result, score: float | None
) -> None:
    assert alone.score is not None and outcome.told is not None
    told = outcome.told | {"score": None if score is None else alone.score + score}
    assert difference(replace(outcome, told=told), alone) is not None


def test_another_verdict_differs(outcome: Outcome, alone: Result) -> None:
    assert outcome.told is not None
    told = outcome.told | {"verdict": "unscored"}
    assert difference(replace(outcome, told=told), alone) is not None


@pytest.mark.parametrize("way", [None, "hold", "live", "sentence"])
def test_each_way_is_read_to_the_same_words_and_numbers(way: str | None, alone: Result) -> None:
    options = {"details": "full"} | ({"stream": way} if way else {})
    with served(Guard(Scripted.saying(ANSWER), LAX), reveal=True) as server:
        response = server.chat(stream=way is not None, energy_guard=options)
    said, told = read_answer(response.text, way is not None)
    assert said == "Yes"
    assert told["score"] == pytest.approx(alone.score)


def test_a_stream_that_breaks_off_or_tells_of_an_error_is_no_answer() -> None:
    error = {"error": {"message": "the server failed"}}
    for body in ('data: {"choices": []}\n\n', f"data: {json.dumps(error)}\n\ndata: [DONE]\n\n"):
        with pytest.raises((LookupError, ValueError)):
            read_answer(body, True)


def test_no_two_requests_ask_for_the_same() -> None:
    assert len({Asking.of(number).question for number in range(1000)}) == 1000
