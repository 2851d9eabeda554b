"""What LangChain's own middleware asks a guarded model for, and what it is told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import HumanMessage
from langchain_energy_guard import AnswerWithheldError, ChatEnergyGuard
from langchain_energy_guard.middleware_calls import judge_for_call

from energy_guard import Policy
from energy_guard.backends import Scripted
from energy_guard.errors import PromptError
from energy_guard.judge import Judge

SUMMARY = [("They spoke of", 0.9), (" Lyon", 0.05)]
GOOD = [("Paris", 0.99)]
RULES = Policy(detector="nll:max", warn=1.0, abstain=2.0)
CALL: Any = {"metadata": {"lc_source": "summarization"}}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_summary_stays_what_the_model_wrote(asynchronous: bool) -> None:
    model = ChatEnergyGuard.of(Scripted.saying(SUMMARY, GOOD), RULES)
    middleware = SummarizationMiddleware(model, trigger=("messages", 3), keep=("messages", 1))
    agent: Any = create_agent(model, [], middleware=[middleware])
    asked = {"messages": [("user", "Hi"), ("ai", "Hello"), ("user", "Which city?")]}
    state = asyncio.run(agent.ainvoke(asked)) if asynchronous else agent.invoke(asked)
    texts = [message.text for message in state["messages"]]
    assert "They spoke of Lyon" in texts[0]
    assert texts[-1] == "Paris"
    assert not any(RULES.abstention_text in text for text in texts)


def test_a_summary_is_no_answer_and_says_so() -> None:
    model = ChatEnergyGuard.of(Scripted.saying(SUMMARY, SUMMARY), RULES)
    block = model.invoke("Sum up", CALL).response_metadata["energy_guard"]
    assert (block["verdict"], block["shown"], block["score"]) == ("unscored", True, None)
    assert "summary" in block["reason"]
    other = model.invoke("Who?").response_metadata["energy_guard"]
    assert other["verdict"] == "abstain"


def test_a_summary_that_must_not_be_shown_is_an_error() -> None:
    """An abstention in its place would be all that is left of the chat."""
    strict = RULES.model_copy(update={"nothing_to_check": "withhold"})
    with pytest.raises(AnswerWithheldError, match="summary"):
        ChatEnergyGuard.of(Scripted.saying(SUMMARY), strict).invoke("Sum up", CALL)


def test_other_calls_of_middleware_get_an_error_for_an_abstention() -> None:
    """As what a tool returned, it would be taken for a fact."""
    call: Any = {"metadata": {"lc_source": "tool_emulation"}}
    with pytest.raises(AnswerWithheldError):
        ChatEnergyGuard.of(Scripted.saying(SUMMARY), RULES).invoke("Emulate", call)
    message = ChatEnergyGuard.of(Scripted.saying(GOOD), RULES).invoke("Emulate", call)
    assert message.response_metadata["energy_guard"]["verdict"] == "accept"


def test_the_judge_is_another_one_for_summaries_alone() -> None:
    judge = Judge.assemble(RULES)
    assert judge_for_call(judge, None) is judge
    assert judge_for_call(judge, {"lc_source": "tool_emulation"}) is judge
    assert judge_for_call(judge, CALL["metadata"]).locator == "summary"


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
def test_a_prompt_that_is_too_long_is_what_langchain_calls_so(way: str) -> None:
    model = ChatEnergyGuard.of(Scripted.saying(GOOD, context=5), RULES)
    prompt = [HumanMessage("word " * 50)]

    async def astreamed() -> list[Any]:
        return [chunk async for chunk in model.astream(prompt)]

    ways: dict[str, Any] = {
        "invoke": lambda: model.invoke(prompt),
        "ainvoke": lambda: asyncio.run(model.ainvoke(prompt)),
        "stream": lambda: list(model.stream(prompt)),
        "astream": lambda: asyncio.run(astreamed()),
    }
    with pytest.raises(ContextOverflowError, match="the context holds 5") as caught:
        ways[way]()
    assert isinstance(caught.value, PromptError)


def test_the_import_names_the_extra_that_is_missing() -> None:
    code = "import sys; sys.modules['langchain_core'] = None; import langchain_energy_guard"
    path = f"import sys; sys.path[:] = {sys.path!r}; "
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "MissingExtraError" in done.stderr
    assert "pip install 'energy-guard[langchain]'" in done.stderr
