"""The call with which LiteLLM asks about answers of other models."""

from __future__ import annotations

from typing import Any

import pytest
from served import Served, served

from energy_guard import Guard, Policy, Request
from energy_guard.backends import Scripted
from energy_guard.server.guardrail import UNKNOWN, GuardrailBody, Questions

STRICT = Policy(detector="nll:max", warn=0.5, abstain=1.0)
SURE = [("The capital is ", 0.99), ("Par", 0.97), ("is", 0.99), (".", 0.99)]
UNSURE = [("The capital is ", 0.99), ("Tim", 0.2), ("buktu", 0.99), (".", 0.99)]
CALL = [('<tool_call>\n{"name": "pay", "arguments": ', 0.99), ('{"sum": ', 0.99), ("9", 0.1)]
CALL += [("}}\n</tool_call>", 0.99)]
MESSAGES = [{"role": "user", "content": "Which city?"}]


def ask(server: Served, **fields: Any) -> Any:
    body = {"litellm_call_id": "c1", "request_data": {}, "litellm_version": "1.110.0"} | fields
    response = server.http.post("/beta/litellm_basic_guardrail_api", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def text(pieces: list[tuple[str, float]]) -> str:
    return "".join(piece for piece, _ in pieces)


@pytest.mark.parametrize(
    ("script", "action"), [(SURE, "NONE"), (UNSURE, "BLOCKED")], ids=["sure", "unsure"]
)
def test_an_answer_is_judged_by_the_question_that_came_before_it(
    script: list[tuple[str, float]], action: str
) -> None:
    asked: list[Request] = []

    class Listening(Scripted):
        def session(self, request: Request | None = None) -> Any:
            asked.extend([request] if request else [])
            return super().session(request)

    with served(Guard(Listening.saying(script), STRICT)) as server:
        before = ask(server, input_type="request", texts=["Which"], structured_messages=MESSAGES)
        after = ask(server, input_type="response", texts=[text(script)])
    assert before == {"action": "NONE"}
    assert after["action"] == action
    assert [request.question for request in asked] == ["Which city?"]
    assert "buktu" not in after.get("blocked_reason", "")


def test_an_answer_without_its_question_is_blocked() -> None:
    with served(Guard(Scripted.saying(SURE), STRICT)) as server:
        ask(server, input_type="request", structured_messages=MESSAGES)
        other = ask(server, input_type="response", texts=[text(SURE)], litellm_call_id="c2")
    assert other == {"action": "BLOCKED", "blocked_reason": UNKNOWN}


def test_an_answer_is_blocked_if_one_of_its_texts_is_withheld() -> None:
    with served(Guard(Scripted.saying(SURE, UNSURE), STRICT)) as server:
        texts = [text(SURE), text(UNSURE)]
        told = ask(server, input_type="response", texts=texts, structured_messages=MESSAGES)
    assert told["action"] == "BLOCKED"


def test_a_call_is_judged_as_a_model_writes_it() -> None:
    call = {"id": "x", "type": "function", "function": {"name": "pay", "arguments": '{"sum": 9}'}}
    with served(Guard(Scripted.saying(CALL), STRICT)) as server:
        fields: Any = {"tool_calls": [call], "structured_messages": MESSAGES, "texts": None}
        told = ask(server, input_type="response", **fields)
    assert told["action"] == "BLOCKED"


def test_an_answer_with_nothing_in_it_passes() -> None:
    with served(Guard(Scripted.saying(), STRICT)) as server:
        assert ask(server, input_type="response", texts=["", " "]) == {"action": "NONE"}


def test_the_oldest_questions_are_forgotten() -> None:
    questions = Questions()
    bodies = [
        GuardrailBody(input_type="request", texts=("a" * 100_000,), litellm_call_id=str(number))
        for number in range(100)
    ]
    for body in bodies:
        questions.keep(body, takes_tools=False)
    known = [bool(questions.of(body, takes_tools=False)) for body in bodies]
    assert known == [False] * 20 + [True] * 80


def test_what_only_the_other_model_can_be_shown_is_left_out() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,x"}}
    words = {"type": "text", "text": "Which city?", "cache_control": {"type": "ephemeral"}}
    turns = [
        {"role": "system", "content": "Be brief.", "cache_control": {"type": "ephemeral"}},
        {"role": "user", "content": [picture, words]},
    ]
    call = {"id": "1", "index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    with served(Guard(Scripted.saying(SURE), STRICT)) as server:
        assert ask(server, input_type="request", structured_messages=turns) == {"action": "NONE"}
        assert ask(server, input_type="response", texts=[text(SURE)]) == {"action": "NONE"}
        ask(server, input_type="request", structured_messages=turns, tool_calls=[call])
