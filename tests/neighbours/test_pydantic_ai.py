"""The model for Pydantic AI, under real agents."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, capture_run_messages
from pydantic_ai.direct import model_request
from pydantic_ai.exceptions import ModelContextWindowExceededError, UserError
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai_energy_guard import AnswerWithheldError, EnergyGuardModel

from energy_guard import Guard, Policy
from energy_guard.backends import Backend, Scripted

BRIEF = "Answer in one short sentence."
KNOWN, UNKNOWN = "What is the chemical symbol for gold?", "Who won the 1987 Tour de France?"


def lax(backend: object) -> EnergyGuardModel:
    """A guard that withholds nothing: what is looked at here is something else."""
    policy = Policy(detector="nll:max", warn=98.0, abstain=99.0, unscored="show")
    return EnergyGuardModel(Guard(backend, policy))


@pytest.mark.model
async def test_an_answer_that_is_withheld_sends_the_agent_to_its_fallback(demo: Backend) -> None:
    guarded = EnergyGuardModel(Guard(demo))
    chain = FallbackModel(guarded, TestModel(custom_output_text="Ask a person."))
    agent = Agent(chain, instructions=BRIEF)
    known, unknown = await agent.run(KNOWN), await agent.run(UNKNOWN)
    assert known.output == "The chemical symbol for gold is Au."
    block = (known.response.provider_details or {})["energy_guard"]
    assert (block["verdict"], block["shown"], block["thresholds"]["on"]) == (
        "warn",
        True,
        "p_wrong",
    )
    assert 0.25 <= block["p_wrong"] < 0.5
    asked = [ModelRequest.user_text_prompt(KNOWN, instructions=BRIEF)]
    direct = await model_request(guarded, asked)  # without an agent it is the same prompt
    assert direct.usage.input_tokens == known.usage.input_tokens
    assert direct.parts == known.response.parts
    assert unknown.output == "Ask a person."
    with pytest.raises(AnswerWithheldError) as raised, capture_run_messages() as messages:
        await Agent(guarded, instructions=BRIEF).run(UNKNOWN)
    assert raised.value.result.verdict == "abstain"
    answer = raised.value.result.answer
    assert answer
    assert answer not in f"{messages!r} {raised.value} {raised.value!r}"
    assert "at or above the limit of 0.5\nCatch AnswerWithheldError" in str(raised.value)


@pytest.mark.model
async def test_a_stream_begins_when_the_verdict_is_there(demo: Backend) -> None:
    guarded = EnergyGuardModel(Guard(demo))
    agent = Agent(
        FallbackModel(guarded, TestModel(custom_output_text="Ask a person.")), instructions=BRIEF
    )
    for question, expected in ((KNOWN, "gold is Au."), (UNKNOWN, "Ask a person.")):
        async with agent.run_stream(question) as stream:
            texts = [text async for text in stream.stream_text(debounce_by=None)]
        assert texts[-1].endswith(expected)
        assert all(texts[-1].startswith(text) for text in texts)


@pytest.mark.model
def test_the_readme_prints_what_it_says() -> None:
    root = Path(__file__).parents[2]
    readme = root.joinpath("integrations/pydantic_ai/README.md").read_text("utf-8")
    code, printed = re.findall(r"```(?:python|text)\n(.*?)```", readme, re.DOTALL)
    # A program of its own: `run_sync` leaves its event loop open for the next call.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.stdout == printed, done.stderr


class City(BaseModel):
    """Where something is."""

    city: str
    country: str


@pytest.mark.model
@pytest.mark.parametrize("output", [City, NativeOutput(City)], ids=["tool", "native"])
async def test_structured_output_is_held_to_its_schema(demo: Backend, output: Any) -> None:
    agent = Agent(lax(demo), output_type=output)
    found = await agent.run("Where is the Eiffel Tower?")
    assert isinstance(found.output, City)
    assert found.output.city


async def test_calls_of_tools_are_made_and_their_results_told() -> None:
    call = '{"name": "weather", "arguments": {"city": "Oslo"}}'
    scripted = Scripted.saying([(call, 0.9)], [("Rain", 0.9)])
    agent = Agent(lax(scripted))
    asked = []

    @agent.tool_plain
    def weather(city: str) -> str:
        """Tell the weather of a city."""
        asked.append(city)
        return "rain"

    done = await agent.run("What is the weather in Oslo?")
    assert (asked, done.output) == (["Oslo"], "Rain")
    calling = done.all_messages()[1]
    [scores] = calling.provider_details["energy_guard"]["tool_calls"]  # type: ignore[union-attr,index]
    assert scores["name"] == "weather"
    assert scores["arguments"]["city"] == pytest.approx(0.105, abs=0.001)


async def test_a_call_that_nobody_can_make_is_withheld() -> None:
    scripted = Scripted.saying([('{"name": "weather", "arguments": {"town": 1}}', 0.9)])
    agent = Agent(lax(scripted))
    agent.tool_plain(weather)
    with pytest.raises(AnswerWithheldError, match="a call that is not carried out"):
        await agent.run("What is the weather in Oslo?")


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"rain in {city}"


@pytest.mark.model
async def test_what_the_model_cannot_do_is_said(demo: Backend) -> None:
    tools = Agent(lax(demo), output_type=NativeOutput(City))
    tools.tool_plain(weather)
    with pytest.raises(UserError, match="use ToolOutput"):
        await tools.run("Where?")
    with pytest.raises(ModelContextWindowExceededError):
        await Agent(lax(demo)).run("word " * 2000)
    chosen = ModelSettings(tool_choice="required")
    with pytest.raises(UserError):
        await Agent(lax(demo)).run("Where?", model_settings=chosen)
