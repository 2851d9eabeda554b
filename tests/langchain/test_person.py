"""A person decides on a call of tools that is withheld."""

from __future__ import annotations

import asyncio
import logging
import pickle
from typing import Any

import pytest
from agent_parts import AGAIN, BAD, CALL, GOOD, MARK, RISKY, RULES, agent, block, model, paid, pay
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain.agents.middleware.human_in_the_loop import HITLRequest
from langchain.agents.structured_output import ToolStrategy
from langchain_core.tools import StructuredTool
from langchain_energy_guard import ChatEnergyGuard
from langchain_energy_guard.middleware import EnergyGuardMiddleware
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel, TypeAdapter

from energy_guard.backends import Scripted

THREAD: Any = {"configurable": {"thread_id": "1"}}
TWO = [
    ('<tool_call>{"name": "pay", "arguments": {"to": "', 0.99),
    ("Bob", 0.99),
    ('"}}</tool_call><tool_call>{"name": "pay", "arguments": {"to": "', 0.99),
    (MARK, 0.01),
    ('"}}</tool_call>', 0.99),
]


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Any:
    paid.clear()

    def invoke(built: Any, given: Any = "Pay.") -> Any:
        asked = {"messages": [("user", given)]} if isinstance(given, str) else given
        if request.param == "async":
            return asyncio.run(built.ainvoke(asked, THREAD))
        return built.invoke(asked, THREAD)

    return invoke


def asking(*answers: Any, saver: Any = None, tools: Any = (pay,), **options: Any) -> Any:
    guard = EnergyGuardMiddleware(ask_person=True, **options)
    return agent(model(*answers), guard, tools=tools, checkpointer=saver or InMemorySaver())


def decide(*decisions: Any) -> Command[Any]:
    return Command(resume={"decisions": list(decisions)})


APPROVE = {"type": "approve"}
REJECT = {"type": "reject", "message": "Not him."}
EDIT = {"type": "edit", "edited_action": {"name": "pay", "args": {"to": "Ann"}}}


def question(state: Any) -> Any:
    (interrupt,) = state["__interrupt__"]
    return interrupt.value


def test_the_question_has_the_call_and_the_score_of_each_argument(run: Any) -> None:
    state = run(asking(RISKY))
    asked = question(state)
    (request,) = asked["action_requests"]
    assert (request["name"], request["args"]) == ("pay", {"to": MARK})
    assert f'to: "{MARK}" (score 4.61)' in request["description"]
    assert asked["review_configs"] == [
        {"action_name": "pay", "allowed_decisions": ["approve", "edit", "reject"]}
    ]
    (scored,) = asked["energy_guard"]["tool_calls"]
    assert scored["arguments"] == {"to": {"score": pytest.approx(4.605, abs=0.01)}}
    assert asked["energy_guard"]["verdict"] == "abstain"
    assert paid == []
    assert state["messages"][-1].content == RULES.abstention_text


def test_the_question_is_one_of_langchains() -> None:
    asked = question(asking(RISKY).invoke({"messages": [("user", "Pay.")]}, THREAD))
    assert TypeAdapter(HITLRequest).validate_python(asked)


def test_an_approved_call_is_made_and_no_model_is_asked_for_it_again(run: Any) -> None:
    built = asking(RISKY, GOOD)
    run(built)
    messages = run(built, decide(APPROVE))["messages"]
    assert paid == [MARK]
    assert [message.text for message in messages] == ["Pay.", "", f"paid {MARK}", "Paris"]
    assert (block(messages[1])["shown"], block(messages[1])["person"]) == (True, ["approve"])
    assert block(messages[1])["verdict"] == "abstain"


def test_an_edited_call_is_made_as_the_person_wrote_it(run: Any) -> None:
    built = asking(RISKY, GOOD)
    run(built)
    messages = run(built, decide(EDIT))["messages"]
    assert paid == ["Ann"]
    assert messages[1].tool_calls[0]["args"] == {"to": "Ann"}
    assert MARK not in repr(messages)


def test_of_a_rejected_call_the_model_is_told_why(run: Any) -> None:
    built = asking(RISKY, GOOD)
    run(built)
    messages = run(built, decide(REJECT))["messages"]
    assert paid == []
    assert (messages[2].type, messages[2].status) == ("tool", "error")
    assert messages[2].content.endswith("was not made: Not him.")
    assert messages[-1].content == "Paris"


def test_each_call_has_its_own_decision(run: Any) -> None:
    built = asking(TWO, GOOD)
    asked = question(run(built))
    scores = [call["arguments"]["to"]["score"] for call in asked["energy_guard"]["tool_calls"]]
    assert scores == [pytest.approx(0.01, abs=0.01), pytest.approx(4.605, abs=0.01)]
    run(built, decide(APPROVE, {"type": "reject"}))
    assert paid == ["Bob"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"decisions": []}, "the decisions are: none; and there are to be 1"),
        ({"decisions": [APPROVE, APPROVE]}, "the decisions are: approve, approve; and"),
        ({"decisions": [{"type": "respond", "message": "Paid."}]}, "the decisions are: respond"),
        ({"decisions": [{"type": "yes"}]}, "'yes', which it cannot be"),
        ("yes", "is 'yes', which it cannot be"),
    ],
)
def test_an_answer_in_another_form_makes_no_call_and_is_asked_for_again(
    run: Any, answer: Any, says: str
) -> None:
    built = asking(RISKY, GOOD)
    first = question(run(built))
    again = question(run(built, Command(resume=answer)))
    assert says in again.pop("problem")
    assert again == first
    assert paid == []
    run(built, decide(APPROVE))
    assert paid == [MARK]


def test_the_question_outlives_the_process(run: Any) -> None:
    first = InMemorySaver()
    run(asking(RISKY, saver=first))
    stored = pickle.dumps([dict(each) for each in (first.storage, first.writes, first.blobs)])
    second = InMemorySaver()
    for kept, read in zip(
        (second.storage, second.writes, second.blobs), pickle.loads(stored), strict=True
    ):
        kept.update(read)
    messages = run(asking(GOOD, saver=second), decide(APPROVE))["messages"]
    assert paid == [MARK]
    assert messages[-1].content == "Paris"


def test_whoever_asks_something_else_leaves_the_call_unmade_and_forgotten(run: Any) -> None:
    built = asking(RISKY, GOOD)
    run(built)
    state = run(built, "Which city?")
    assert [message.text for message in state["messages"]] == ["Which city?", "Paris"]
    assert paid == []
    assert "__interrupt__" not in state
    assert MARK not in repr(built.get_state(THREAD))


def test_the_next_call_is_asked_about_anew(run: Any) -> None:
    built = asking(RISKY, RISKY, GOOD)
    run(built)
    assert question(run(built, decide(REJECT)))["action_requests"][0]["args"] == {"to": MARK}
    run(built, decide(APPROVE))
    assert paid == [MARK]


def test_a_retry_comes_before_the_question(run: Any) -> None:
    assert "__interrupt__" not in run(asking(RISKY, CALL, GOOD, policy=AGAIN))
    assert paid == ["Bob"]


def test_nobody_is_asked_about_words_or_an_object(run: Any) -> None:
    class City(BaseModel):
        """A city."""

        name: str

    assert run(asking(BAD))["messages"][-1].content == RULES.abstention_text
    says = [('{"name": "City", "arguments": {"name": "', 0.99), (MARK, 0.01), ('"}}', 0.99)]
    guard = EnergyGuardMiddleware(ask_person=True)
    saver = InMemorySaver()
    built = agent(model(says), guard, response_format=ToolStrategy(City), checkpointer=saver)
    state = run(built, "Which?")
    assert "__interrupt__" not in state
    assert MARK not in repr(state)


def test_nobody_is_asked_unless_that_is_wanted(run: Any) -> None:
    built = agent(model(RISKY), EnergyGuardMiddleware(), tools=[pay], checkpointer=InMemorySaver())
    state = run(built)
    assert "__interrupt__" not in state
    assert MARK not in repr(state)


def test_without_a_checkpointer_nobody_can_answer_and_no_call_is_made(run: Any) -> None:
    built = agent(model(RISKY), EnergyGuardMiddleware(ask_person=True), tools=[pay])
    assert question(run(built))
    assert paid == []


def test_a_fallbacks_call_is_asked_about_too(run: Any) -> None:
    guard = EnergyGuardMiddleware(ask_person=True, fallback=model(RISKY, GOOD))
    saver = InMemorySaver()
    built = agent(model(BAD, GOOD), guard, tools=[pay], checkpointer=saver)
    assert question(run(built))["action_requests"][0]["args"] == {"to": MARK}


def test_what_a_fallback_withholds_is_the_abstention(run: Any) -> None:
    built = agent(
        model(BAD),
        EnergyGuardMiddleware(fallback=model(RISKY)),
        tools=[pay],
        checkpointer=InMemorySaver(),
    )
    state = run(built)
    assert state["messages"][-1].content == RULES.abstention_text
    assert paid == []
    assert MARK not in repr(state)


PROSE = "Wvorn"
BESIDE = [(f"I heard {PROSE}.\n", 0.9), *RISKY]


def test_of_a_withheld_answer_the_calls_alone_are_quoted(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    saver = InMemorySaver()
    built = asking(BESIDE, saver=saver)
    modes = ["messages", "custom", "updates", "values", "debug", "tasks", "checkpoints"]
    with caplog.at_level(logging.DEBUG):
        told = list(built.stream({"messages": [("user", "Pay.")]}, THREAD, stream_mode=modes))
    stored = [dict(saver.blobs), dict(saver.writes), list(saver.list(None))]
    assert MARK in repr(told)
    assert PROSE not in repr([told, stored, built.get_state(THREAD), caplog.text])
    for mode in ("messages", "custom"):
        assert MARK not in repr([data for kind, data in told if kind == mode])
    assert MARK not in caplog.text


def test_with_a_human_in_the_loop_behind_it_a_person_is_asked_once(run: Any) -> None:
    guard = EnergyGuardMiddleware(ask_person=True)
    human = HumanInTheLoopMiddleware({"pay": True})
    saver = InMemorySaver()
    built = agent(model(RISKY, CALL, GOOD), guard, human, tools=[pay], checkpointer=saver)
    assert "energy_guard" in question(run(built))
    sure = question(run(built, decide(APPROVE)))  # the next call, of which the model is sure
    assert sure["action_requests"][0]["args"] == {"to": "Bob"}
    assert "energy_guard" not in sure
    run(built, decide(APPROVE))
    assert paid == [MARK, "Bob"]


def asked_twice(run: Any, *middleware: Any) -> Any:
    """An agent in which a person has approved a call and is asked about it once more."""
    built = agent(model(RISKY, GOOD), *middleware, tools=[pay], checkpointer=InMemorySaver())
    assert "energy_guard" in question(run(built))
    assert "energy_guard" not in question(run(built, decide(APPROVE)))
    assert paid == []
    return built


def test_with_a_human_in_the_loop_before_it_a_person_is_asked_twice(run: Any) -> None:
    human = HumanInTheLoopMiddleware({"pay": True})
    built = asked_twice(run, human, EnergyGuardMiddleware(ask_person=True))
    run(built, decide(APPROVE))
    assert paid == [MARK]


def test_with_a_human_asked_per_call_a_person_is_asked_twice(run: Any) -> None:
    human = HumanInTheLoopMiddleware({"pay": True}, interrupt_mode="per_call")
    built = asked_twice(run, EnergyGuardMiddleware(ask_person=True), human)
    run(built, Command(resume=APPROVE))
    assert paid == [MARK]


def test_details_none_leaves_no_texts_in_the_message(run: Any) -> None:
    built = asking(RISKY, GOOD, details="none")
    run(built)
    said = run(built, decide(APPROVE))["messages"][1]
    assert "reason" not in block(said)
    assert "tool_calls" not in block(said)
    assert block(said)["person"] == ["approve"]


def test_the_name_of_an_argument_makes_no_lines_in_the_question(run: Any) -> None:
    any_tool = StructuredTool.from_function(
        lambda **_: "", name="any", description="Any.", args_schema={"type": "object"}
    )
    made_up = [('{"name": "any", "arguments": {"a\\nTool: ', 0.99), ("b", 0.01), ('": 1}}', 0.99)]
    asked = question(run(asking(made_up, tools=[any_tool])))
    (request,) = asked["action_requests"]
    assert list(request["args"]) == ["a\nTool: b"]
    assert request["description"].count("\n") == 2


def test_an_argument_that_the_model_makes_up_is_in_no_abstention(run: Any) -> None:
    made_up = [('{"name": "any", "arguments": {"', 0.99), (MARK, 0.01), ('": 1}}', 0.99)]
    tool: Any = {"name": "any", "description": "Takes anything.", "parameters": {}}
    saver = InMemorySaver()
    asked = ChatEnergyGuard.of(Scripted.saying(made_up), RULES)
    state = run(agent(asked, EnergyGuardMiddleware(), tools=[tool], checkpointer=saver))
    assert MARK not in repr(state)
