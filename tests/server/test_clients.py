"""Programs that people use, against a server that runs: what they make of its answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Annotated, Any

import openai
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, Field
from served import LAX, Served, served

from energy_guard import Guard, Policy
from energy_guard.backends import Scripted
from energy_guard.backends.llama_cpp import LlamaCpp

QUESTION = "What is the chemical symbol for gold? Answer in one short sentence."
STRICT = Policy(detector="nll:max", warn=0.5, abstain=1.0)
SURE = [("The capital is ", 0.99), ("Par", 0.97), ("is", 0.99), (".", 0.99)]
WITHHELD = [("The capital is ", 0.99), ("Tim", 0.2), ("buktu", 0.99), (".", 0.99)]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 12}},
            "required": ["city"],
        },
    },
}


Name = Annotated[str, Field(max_length=12)]
"""Short, or a small model writes on and on."""


class City(BaseModel):
    name: Name


class weather(BaseModel):  # noqa: N801
    """Tells the weather of a city."""

    city: Name


@pytest.fixture(scope="module")
def server(demo: LlamaCpp) -> Iterator[Served]:
    with served(Guard(demo, LAX)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def model_of(client: OpenAI) -> str:
    [model] = client.models.list().data
    return model.id


def chat(url: str, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="scripted", base_url=f"{url}/v1", api_key="none", max_retries=0, **options
    )


@pytest.mark.model
def test_openai_reads_an_answer_and_its_verdict(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=model_of(client),
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=30,
        logprobs=True,
    )
    [choice] = answer.choices
    assert choice.message.content and "Au" in choice.message.content
    assert choice.logprobs is not None and choice.logprobs.content is not None
    assert "".join(entry.token for entry in choice.logprobs.content) == choice.message.content
    told = answer.model_extra["energy_guard"] if answer.model_extra else {}
    assert told["verdict"] in ("accept", "warn")
    assert answer.usage is not None and answer.usage.completion_tokens == told["content_end"] + 1


@pytest.mark.model
def test_openai_streams_the_same_answer_sync_and_async(server: Served, client: OpenAI) -> None:
    asked: Any = {
        "model": model_of(client),
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 30,
        "stream": True,
        "extra_body": {"energy_guard": {"stream": "live"}},
    }

    async def read() -> tuple[str, Any]:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as other:
            text, told = "", None
            async for chunk in await other.chat.completions.create(**asked):
                text += chunk.choices[0].delta.content or ""
                told = (chunk.model_extra or {}).get("energy_guard", told)
            return text, told

    text, told = "", None
    for chunk in client.chat.completions.create(**asked):
        text += chunk.choices[0].delta.content or ""
        told = (chunk.model_extra or {}).get("energy_guard", told)
    assert text and told
    assert asyncio.run(read()) == (text, told)
    assert told["text"] == text


@pytest.mark.model
def test_openai_makes_a_call_and_gets_its_result_in(client: OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "How is the weather in Paris?"}]
    asked: Any = {"model": model_of(client), "tools": [TOOL], "max_tokens": 60}
    answer = client.chat.completions.create(messages=messages, tool_choice="required", **asked)
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    call: Any = choice.message.tool_calls[0]
    assert isinstance(json.loads(call.function.arguments)["city"], str)
    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}]
    told = client.chat.completions.create(messages=messages, tool_choice="none", **asked)
    assert told.choices[0].message.content


@pytest.mark.model
def test_openai_parses_a_structured_answer(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=model_of(client),
        messages=[{"role": "user", "content": "Name the capital of France."}],
        response_format=City,
        max_tokens=60,
    )
    assert isinstance(answer.choices[0].message.parsed, City)
    plain = client.chat.completions.create(
        model=model_of(client),
        messages=[{"role": "user", "content": "Name the capital of France as JSON."}],
        response_format={"type": "json_object"},
        max_tokens=120,
    )
    assert isinstance(json.loads(plain.choices[0].message.content or ""), dict)


@pytest.mark.model
def test_openai_completes_a_text(client: OpenAI) -> None:
    answer = client.completions.create(
        model=model_of(client), prompt="The capital of France is", max_tokens=6, logprobs=0
    )
    [choice] = answer.choices
    assert choice.logprobs is not None and choice.logprobs.tokens
    assert "".join(choice.logprobs.tokens) == choice.text


def test_openai_finds_a_refusal_where_it_looks_for_one() -> None:
    with (
        served(Guard(Scripted.saying(WITHHELD, WITHHELD), STRICT)) as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        asked: Any = {"model": "scripted", "messages": [{"role": "user", "content": "?"}]}
        parsed = client.chat.completions.parse(response_format=City, **asked).choices[0].message
        with client.chat.completions.stream(response_format=City, **asked) as stream:
            last = stream.get_final_completion().choices[0].message
    assert (parsed.parsed, parsed.refusal) == (None, STRICT.abstention_text)
    assert (last.parsed, last.refusal) == (None, STRICT.abstention_text)


def test_openai_raises_its_own_errors() -> None:
    with (
        served(Guard(Scripted.saying(SURE), LAX), api_key="sesame") as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as stranger,
        OpenAI(base_url=f"{server.url}/v1", api_key="sesame", max_retries=0) as client,
    ):
        asked: Any = {"model": "scripted", "messages": [{"role": "user", "content": "?"}]}
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
        with pytest.raises(openai.NotFoundError, match="no model 'other'"):
            client.chat.completions.create(**asked | {"model": "other"})
        with pytest.raises(openai.BadRequestError, match="temperature"):
            client.chat.completions.create(**asked, temperature=9)
        with pytest.raises(openai.BadRequestError, match="context"):
            long = [{"role": "user", "content": "word " * 5000}]
            client.chat.completions.create(**asked | {"messages": long}, stream=True)
        assert client.chat.completions.create(**asked).choices[0].message.content


def test_langchain_finds_the_verdict_in_the_metadata() -> None:
    with served(Guard(Scripted.saying(SURE, WITHHELD), STRICT)) as server:
        messages = [SystemMessage("Be brief."), HumanMessage("Which city?")]
        shown, withheld = (chat(server.url).invoke(messages) for _ in range(2))
    assert shown.content == "The capital is Paris."
    assert shown.response_metadata["logprobs"]["energy_guard"]["verdict"] == "accept"
    assert withheld.content == ""
    assert withheld.additional_kwargs["refusal"] == STRICT.abstention_text
    assert withheld.response_metadata["logprobs"]["energy_guard"]["verdict"] == "abstain"
    assert "buktu" not in repr(withheld)


@pytest.mark.parametrize("mode", ["hold", "live"])
def test_langchain_finds_the_verdict_at_the_end_of_a_stream(mode: str) -> None:
    with served(Guard(Scripted.saying(SURE), STRICT)) as server:
        asking = {"energy_guard": {"stream": mode}}
        model = chat(server.url, extra_body=asking, stream_usage=True)
        whole: AIMessageChunk | None = None
        for chunk in model.stream("Which city?"):
            assert isinstance(chunk, AIMessageChunk)
            whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert whole.content == "The capital is Paris."
    assert whole.response_metadata["logprobs"]["energy_guard"]["verdict"] == "accept"
    assert whole.usage_metadata is not None and whole.usage_metadata["output_tokens"] == 5


@pytest.mark.model
def test_langchain_calls_tools_and_structures_answers(server: Served, client: OpenAI) -> None:
    model = chat(server.url, max_tokens=60)
    model.model_name = model_of(client)
    called = model.bind_tools([weather], tool_choice="any").invoke("How is the weather in Paris?")
    assert [call["name"] for call in called.tool_calls] == ["weather"]
    for method in ("json_schema", "function_calling"):
        city = model.with_structured_output(City, method=method).invoke("The capital of France?")
        assert isinstance(city, City)


def test_langchain_gets_no_object_of_a_call_that_is_withheld() -> None:
    call = [('{"name": "City", "arguments": {"name": "', 0.99), ("Tim", 0.2), ('"}}', 0.99)]
    with served(Guard(Scripted.saying(call), STRICT)) as server:
        model = chat(server.url).with_structured_output(City, method="function_calling")
        assert model.invoke("Which city?") is None


def test_langchain_is_told_that_a_structured_answer_is_withheld() -> None:
    with served(Guard(Scripted.saying(WITHHELD), STRICT)) as server:
        model = chat(server.url).with_structured_output(City, method="json_schema")
        with pytest.raises(Exception, match=STRICT.abstention_text):
            model.invoke("Which city?")
