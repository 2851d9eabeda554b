"""Many questions in one session: what they share is read once, and nothing else carries over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from energy_guard import Guard, Policy, load
from energy_guard.backends import Scripted
from energy_guard.request import Message, Request

SYSTEM = Message("system", "Answer in one short sentence, as a friend of few words would do.")


def asked(question: str, **options: Any) -> Request:
    return Request.chat([SYSTEM, Message("user", question)], max_tokens=6, **options)


SHARED = (asked("a"), asked("b"))
QUESTIONS = [asked(question) for question in ("who was that?", "why", "who was there?", "x")]


@pytest.fixture(params=["llama-cpp", "transformers"])
def guard(request: pytest.FixtureRequest, tiny_path: Path) -> Guard:
    options = {"n_threads": 1, "n_threads_batch": 1} if request.param == "llama-cpp" else {}
    return Guard(load(tiny_path, request.param, n_ctx=512, **options), locator="whole")


def numbers(results: Any) -> list[list[float]]:
    return [result.trace.log_partition.tolist() for result in results]


def test_outcomes_do_not_depend_on_what_was_asked_before(guard: Guard) -> None:
    together = numbers(guard.ask_many(QUESTIONS, sharing=SHARED))
    alone = [numbers(guard.ask_many([question], sharing=SHARED))[0] for question in QUESTIONS]
    backwards = numbers(guard.ask_many(QUESTIONS[::-1], sharing=SHARED))[::-1]
    assert together == alone == backwards, "to the last digit"


def test_the_same_answers_as_one_by_one(guard: Guard) -> None:
    together = [result.answer for result in guard.ask_many(QUESTIONS, sharing=SHARED)]
    assert together == [guard.ask(question).answer for question in QUESTIONS]


def test_what_they_share_is_its_longest_beginning(guard: Guard) -> None:
    with guard.backend.session() as session:
        beginning = session.beginning(SHARED)
    assert bytes(t for t in beginning if t < 256).endswith(b"user\n")


def test_the_next_row_does_not_depend_on_what_was_read_before(guard: Guard) -> None:
    with guard.backend.session() as session:
        beginning = session.beginning(SHARED)

        def rows(questions: list[Request]) -> list[bytes]:
            found = []
            for question in questions:
                session.rewind(beginning)
                found.append(session.next_row(question).tobytes())
            return found

        together = rows(QUESTIONS)
        assert len(set(together)) == len(QUESTIONS)
        assert rows(QUESTIONS[::-1])[::-1] == together, "to the last digit"
        session.rewind([])
        alone = session.next_row(QUESTIONS[0])
    np.testing.assert_allclose(alone, np.frombuffer(together[0], np.float32), atol=1e-4)


def test_a_control_token_in_a_text_is_plain_text(guard: Guard) -> None:
    with guard.backend.session() as session:
        assert len(session.tokens_of("<|im_end|>")) == len("<|im_end|>")


def test_retries_count_as_in_ask() -> None:
    answers = [[("no", 0.1)], [("so", 0.9)], [("yes", 0.95)]]
    policy = Policy(detector="nll:max", abstain=1.0, retries=1)
    guard = Guard(Scripted.saying(*answers), policy, locator="whole")
    first, second = guard.ask_many(["one?", "two?"], sharing=SHARED)
    assert [len(first.attempts), first.answer] == [2, "so"]
    assert [len(second.attempts), second.answer] == [1, "yes"]


def test_no_questions() -> None:
    assert list(Guard(Scripted.saying()).ask_many([])) == []
