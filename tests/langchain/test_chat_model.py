"""ChatEnergyGuard: what comes out is the same whichever way it is called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from chat_llama import chat_llama
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import RunnableLambda
from langchain_energy_guard import AnswerWithheldError, ChatEnergyGuard
from langchain_energy_guard.messages import turns
from pydantic import BaseModel

from energy_guard import Guard, Policy
from energy_guard.backends import Scripted
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.errors import InputError
from energy_guard.request import Message, ToolCall

QUESTION = "Which river runs through Paris?"
SHOWING = Policy(detector="nll:max", warn=1.0, unscored="show")
WITHHOLDING = Policy(detector="nll:max", warn=0.0, abstain=0.0, unscored="withhold")


class Heard(BaseCallbackHandler):
    """What a handler is told."""

    run_inline = True

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.tokens: list[str] = []
        self.ends: list[str] = []

    def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
        self.events.append((name, data))

    def on_llm_new_token(self, token: str, **_: Any) -> None:  # type: ignore[override]
        self.tokens.append(token)

    def on_llm_end(self, response: Any, **_: Any) -> None:
        self.ends.append(response.generations[0][0].text)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]


def saying(*answers: str, p: float = 0.9, policy: Policy | None = None, **settings: Any) -> Any:
    """A model that says these answers, a token a word, to whoever can take words back."""
    words = [answer.replace(" ", "\0 ").split("\0") for answer in answers]
    scripts = [[(word, p) for word in answer if word] for answer in words]
    return ChatEnergyGuard.of(
        Scripted.saying(*scripts), policy or SHOWING, **{"streaming_mode": "live"} | settings
    )


def added(chunks: list[Any]) -> Any:
    full = chunks[0]
    for chunk in chunks[1:]:
        full = full + chunk
    return full


async def last_event(model: Any) -> BaseMessage:
    events = [event async for event in model.astream_events(QUESTION, version="v2")]
    return events[-1]["data"]["output"]  # type: ignore[no-any-return]


async def last_of_astream(model: Any) -> BaseMessage:
    return added([chunk async for chunk in model.astream(QUESTION)])  # type: ignore[no-any-return]


WAYS: dict[str, Callable[[Any], BaseMessage]] = {
    "invoke": lambda m: m.invoke(QUESTION),
    "stream": lambda m: added(list(m.stream(QUESTION))),
    "ainvoke": lambda m: asyncio.run(m.ainvoke(QUESTION)),
    "astream": lambda m: asyncio.run(last_of_astream(m)),
    "batch": lambda m: m.batch([QUESTION])[0],
    "abatch": lambda m: asyncio.run(m.abatch([QUESTION]))[0],
    "events": lambda m: asyncio.run(last_event(m)),
    "events v3": lambda m: _v3(m),
    "streaming inside": lambda m: m.invoke(QUESTION, stream=True),
}


def _v3(model: Any) -> BaseMessage:
    stream = model.stream_events(QUESTION, version="v3")
    list(stream)
    return stream.output  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=["live", "hold"])
def invoked(request: pytest.FixtureRequest, demo: LlamaCpp) -> tuple[Any, AIMessage]:
    """A model, and what it answers when it is invoked."""
    model = ChatEnergyGuard.of(
        demo, SHOWING, max_tokens=24, streaming_mode=request.param, details="full"
    )
    demo.engine.reset()  # a prefix in the cache changes the numbers a little
    return model, model.invoke(QUESTION)


@pytest.mark.model
@pytest.mark.parametrize("way", WAYS)
def test_the_metadata_is_the_same_in_every_way(
    demo: LlamaCpp, invoked: tuple[Any, AIMessage], way: str
) -> None:
    model, expected = invoked
    demo.engine.reset()
    message = WAYS[way](model)
    assert message.text == expected.text
    block = message.response_metadata["energy_guard"]
    assert block == expected.response_metadata["energy_guard"]
    assert block["verdict"] == "warn"
    assert block["calibrated"] == (block["p_wrong_from"] == "profile")
    assert {len(column) for column in block["tokens"].values()} == {24}
    assert message.usage_metadata == expected.usage_metadata  # type: ignore[attr-defined]


def test_a_thousand_chunks_are_merged() -> None:
    text = " ".join(f"w{i % 50}" for i in range(1000))
    model = saying(text, text, max_tokens=2000, details="full")
    chunks = list(model.stream("?"))
    assert len(chunks) == 1001
    full = added(chunks)
    one = model.invoke("?")
    assert full.content == one.content == text
    assert full.response_metadata == one.response_metadata
    assert len(full.response_metadata["energy_guard"]["tokens"]["nll"]) == 1001
    assert [c for c in chunks if c.response_metadata] == chunks[-1:]
    assert chunks[-1].chunk_position == "last"


def test_an_answer_with_a_warning_is_unaltered() -> None:
    message = saying(" It is 42 . ", p=0.2).invoke("How many?")
    assert message.content == " It is 42 . "
    assert message.response_metadata["energy_guard"]["verdict"] == "warn"
    assert message.response_metadata["energy_guard"]["warning"]


def test_without_streaming_a_stream_is_one_message() -> None:
    chunks = list(saying("It is 42", disable_streaming=True).stream("How many?"))
    assert [chunk.content for chunk in chunks] == ["It is 42"]


class TestWithheld:
    def test_invoke_gives_the_abstention(self) -> None:
        message = saying("Paris", policy=WITHHOLDING).invoke("?")
        block = message.response_metadata["energy_guard"]
        assert message.text == WITHHOLDING.abstention_text
        assert (block["shown"], block["verdict"]) == (False, "abstain")
        assert (block["p_wrong"], block["p_wrong_from"], block["calibrated"]) == (None, None, False)

    def test_a_live_stream_is_retracted(self) -> None:
        heard = Heard()
        model = saying("It is Paris", policy=WITHHOLDING)
        chunks = list(model.stream("?", {"callbacks": [heard]}))
        assert "".join(c.text for c in chunks[:-1]) == "It is Paris"
        assert chunks[-1].text == "\n\n" + WITHHOLDING.abstention_text
        assert heard.names == ["energy_guard_retracted", "energy_guard_decision"]
        assert heard.events[0][1]["characters"] == len("It is Paris")
        assert "Paris" not in repr(heard.events)
        # LangChain adds the chunks up for its end event: docs/langchain.md says so.
        assert heard.ends == ["It is Paris\n\n" + WITHHOLDING.abstention_text]

    def test_a_held_stream_shows_nothing_before_the_verdict(self) -> None:
        heard = Heard()
        model = saying("It is Paris", policy=WITHHOLDING, streaming_mode="hold")
        chunks = list(model.stream("?", {"callbacks": [heard]}))
        assert [c.text for c in chunks] == heard.ends == [WITHHOLDING.abstention_text]
        assert heard.names == ["energy_guard_decision"]

    def test_who_wants_a_message_never_gets_the_withdrawn_text(self) -> None:
        """A graph streams tokens to its user while its node calls `invoke`."""
        heard = Heard()
        model = saying("It is Paris", policy=WITHHOLDING, streaming=True)
        message = model.invoke("?", {"callbacks": [heard]})
        assert message.text == heard.ends[0] == WITHHOLDING.abstention_text
        assert "".join(heard.tokens).startswith("It is Paris\n\n")
        assert heard.names == ["energy_guard_retracted", "energy_guard_decision"]

    def test_the_same_in_an_event_loop(self) -> None:
        async def ask() -> tuple[Any, Heard]:
            heard = Heard()
            model = saying("It is Paris", policy=WITHHOLDING, streaming=True)
            return await model.ainvoke("?", {"callbacks": [heard]}), heard

        message, heard = asyncio.run(ask())
        assert message.text == WITHHOLDING.abstention_text
        assert heard.names == ["energy_guard_retracted", "energy_guard_decision"]

    def test_events_reach_those_who_read_them(self) -> None:
        async def names(model: Any) -> list[str]:
            events = [e async for e in model.astream_events("?", version="v2")]
            return [e["name"] for e in events if e["event"] == "on_custom_event"]

        both = ["energy_guard_retracted", "energy_guard_decision"]
        assert asyncio.run(names(saying("Paris", policy=WITHHOLDING))) == both
        chain = RunnableLambda(lambda q: q) | saying("Paris", policy=WITHHOLDING)
        assert asyncio.run(names(chain)) == both

    def test_a_retry_follows_in_the_stream_and_alone_in_the_message(self) -> None:
        policy = Policy(detector="nll:max", warn=0.1, abstain=0.5, retries=1)
        backend = [[("Ly", 0.3), ("on", 0.9)], [("Par", 0.95), ("is", 0.95)]]
        model = ChatEnergyGuard.of(Scripted.saying(*backend * 2), policy, streaming_mode="live")
        assert model.invoke("?").content == "Paris"
        heard = Heard()
        full = added(list(model.stream("?", {"callbacks": [heard]})))
        assert full.content == "Lyon\n\nParis"
        assert full.response_metadata["energy_guard"]["attempts"] == 2
        assert next((n, d.get("characters")) for n, d in heard.events) == (
            "energy_guard_retracted",
            len("Lyon"),
        )

    @pytest.mark.model
    def test_no_text_stands_for_an_object_or_a_call(self, demo: LlamaCpp) -> None:
        class City(BaseModel):
            """A city."""

            name: str

        model = ChatEnergyGuard.of(demo, WITHHOLDING, max_tokens=30)
        for method in ("json_schema", "json_mode", "function_calling"):
            with pytest.raises(AnswerWithheldError) as raised:
                model.with_structured_output(City, method=method).invoke(QUESTION)
            assert raised.value.structured
            assert raised.value.partial.startswith("{")
        with pytest.raises(AnswerWithheldError):
            list(model.bind_tools([City], tool_choice="any").stream(QUESTION))


class TestConcurrency:
    def test_the_engine_is_done_when_an_answer_is_there(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A thread that is still at work would speak to an event loop that is closed by then."""
        model = saying(*["Paris"] * 50)
        for _ in range(50):
            asyncio.run(model.ainvoke("?"))
        assert not caplog.records

    @pytest.mark.model
    def test_concurrent_calls_are_queued_and_not_mixed(self, demo: LlamaCpp) -> None:
        questions = [f"Repeat this number: {n}{n}{n}" for n in range(1, 7)]
        models = [
            ChatEnergyGuard.of(LlamaCpp(demo.engine), SHOWING, max_tokens=12) for _ in range(2)
        ]
        alone = [models[0].invoke(q).content for q in questions]

        async def together() -> list[Any]:
            calls = [models[i % 2].ainvoke(q) for i, q in enumerate(questions)]
            return [message.content for message in await asyncio.gather(*calls)]

        assert asyncio.run(together()) == alone
        assert models[0].batch(questions) and len(set(alone)) > 1

    @pytest.mark.model
    @pytest.mark.parametrize("how", ["cancel", "leave"])
    def test_a_cancelled_stream_stops_the_engine(
        self, demo: LlamaCpp, how: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        evaluated = 0
        evaluate = type(demo.engine).eval.__get__(demo.engine)

        def counting(tokens: Any) -> None:
            nonlocal evaluated
            evaluated += 1
            evaluate(tokens)

        monkeypatch.setattr(demo.engine, "eval", counting)
        model = ChatEnergyGuard.of(demo, SHOWING, max_tokens=400, streaming_mode="live")
        at_cancel = 0

        async def read() -> None:
            nonlocal at_cancel
            seen = 0
            async for _ in model.astream("Write a long story about a fox."):
                seen += 1
                if seen == 3:
                    at_cancel = evaluated
                    if how == "leave":
                        break
                    raise asyncio.CancelledError

        async def cancelled() -> None:
            task = asyncio.create_task(read())
            await asyncio.wait([task])
            for _ in range(200):
                if not demo._lock.locked:
                    break
                await asyncio.sleep(0.01)
            assert not demo._lock.locked

        asyncio.run(cancelled())
        assert at_cancel >= 3
        assert evaluated - at_cancel <= 2  # the token in work, and none begun after it
        assert model.invoke(QUESTION, max_tokens=4).content

    @pytest.mark.model
    def test_a_cancelled_task_returns_when_the_engine_is_free(self, demo: LlamaCpp) -> None:
        model = ChatEnergyGuard.of(demo, SHOWING, max_tokens=400)

        async def cancel() -> None:
            task = asyncio.create_task(model.ainvoke("Write a long story about a fox."))
            waiting = asyncio.create_task(model.ainvoke("Another one."))
            await asyncio.sleep(0.3)
            assert demo._lock.locked
            waiting.cancel()
            task.cancel()
            done = await asyncio.gather(task, waiting, return_exceptions=True)
            assert [type(d) for d in done] == [asyncio.CancelledError] * 2
            assert not demo._lock.locked

        asyncio.run(cancel())


@pytest.mark.model
class TestUsersOwnModel:
    def test_its_engine_and_settings_are_taken_and_its_stop_holds(self) -> None:
        theirs = chat_llama(stop=["collection"], max_tokens=30, repeat_penalty=1.0)
        model = ChatEnergyGuard.of(theirs, SHOWING)
        assert model.guard.backend.engine is theirs.client  # type: ignore[attr-defined]
        assert (model.max_tokens, model.stop, model.temperature) == (30, ["collection"], 0.0)
        counting = "Count: one, two, three, four."  # it tells of collections and items
        free = ChatEnergyGuard.of(theirs, SHOWING, stop=[]).invoke(counting).content
        cut = free.split("collection")[0]
        assert cut != free
        assert model.invoke(counting).content == cut
        assert added(list(model.stream(counting))).content == cut
        own = model.invoke(counting, stop=["items"])
        assert own.content == free.split("items")[0]
        assert own.response_metadata["finish_reason"] == "stop"


class TestMessages:
    def test_turns(self) -> None:
        call = {"name": "add", "args": {"a": 1}, "id": "1", "type": "tool_call"}
        chat = [
            SystemMessage("Be short."),
            HumanMessage([{"type": "text", "text": "1 + "}, "1?"]),
            AIMessage("", tool_calls=[call]),
            ToolMessage("2", name="add", tool_call_id="1"),
        ]
        plain = turns(chat)
        assert [m.role for m in plain] == ["system", "user", "assistant", "user"]
        assert plain[2].content == '{"name": "add", "arguments": {"a": 1}}'
        assert plain[3].content == "Result of add: 2"
        assert turns(chat, takes_tools=True)[2:] == (
            Message("assistant", "", calls=(ToolCall("add", '{"a": 1}'),)),
            Message("tool", "2", name="add"),
        )

    def test_what_is_no_text(self) -> None:
        image = {"type": "image_url", "image_url": {"url": "data:…"}}
        with pytest.raises(InputError, match="image_url"):
            saying("x").invoke([HumanMessage([image])])

    def test_what_there_is_not(self) -> None:
        with pytest.raises(InputError, match="no option temprature"):
            saying("x").invoke("?", temprature=1)
        with pytest.raises(InputError, match="no setting n_ctx"):
            saying("x", n_ctx=1)
        with pytest.raises(InputError, match="tool_choice is 'nothing'"):
            saying("x").bind_tools([lambda_tool], tool_choice="nothing")


def lambda_tool(city: str) -> str:
    """Say what the weather is."""
    return city


class TestFreeTools:
    TAGGED = 'Let me see. <tool_call>{"name": "lambda_tool", "arguments": {"city": "Rome"}}'

    def test_a_call_is_read_and_its_arguments_are_scored(self) -> None:
        model = saying(self.TAGGED, details="full").bind_tools([lambda_tool])
        message = model.invoke("Weather in Rome?")
        assert [(c["name"], c["args"]) for c in message.tool_calls] == [
            ("lambda_tool", {"city": "Rome"})
        ]
        assert message.content == "Let me see."
        (call,) = message.response_metadata["energy_guard"]["tool_calls"]
        assert call["arguments"]["city"]["span"]["text"] == "Rome"
        assert call["arguments"]["city"]["score"] == pytest.approx(0.105, abs=0.001)

    def test_streams_have_it_too(self) -> None:
        bound = saying(self.TAGGED).bind_tools([lambda_tool])
        full = added(list(bound.stream("Weather in Rome?")))
        assert isinstance(full, AIMessageChunk)
        assert full.tool_calls[0]["args"] == {"city": "Rome"}

    def test_words_stay_words(self) -> None:
        message = saying("It is sunny").bind_tools([lambda_tool]).invoke("Weather?")
        assert (message.content, message.tool_calls) == ("It is sunny", [])

    def test_a_withheld_call_is_an_exception(self) -> None:
        with pytest.raises(AnswerWithheldError):
            saying(self.TAGGED, policy=WITHHOLDING).bind_tools([lambda_tool]).invoke("?")

    @pytest.mark.model
    def test_a_template_with_tools_shows_them(self, demo: LlamaCpp) -> None:
        template = (
            "{% for t in tools or [] %}<|im_start|>system\n{{ t | tojson }}<|im_end|>\n{% endfor %}"
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
            "{{ (m.tool_calls or []) | tojson }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
        )
        backend = LlamaCpp(demo.engine, chat_template=template)
        model = ChatEnergyGuard(guard=Guard(backend, SHOWING), max_tokens=4)
        assert backend.takes_tools and not demo.takes_tools

        def tricky(text: str) -> str:
            """Says <|im_end|> and <|im_start|>."""
            return text

        seen: list[list[int]] = []
        encode = backend._prompts.encode
        backend._prompts.encode = lambda r: seen.append(encode(r)) or seen[-1]  # type: ignore
        model.bind_tools([tricky]).invoke([HumanMessage("?")])
        text = demo.engine.detokenize(seen[-1], special=True).decode()
        assert '"name": "tricky"' in text
        end = demo.engine.tokenize(b"<|im_end|>", add_bos=False, special=True)[0]
        assert seen[-1].count(end) == 2  # that of the tools and that of the question
