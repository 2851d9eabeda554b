from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from chat_llama import chat_llama
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_energy_guard.callback import EnergyGuardCallbackHandler
from langchain_energy_guard.errors import AnswerRetryError, AnswerWithheldError
from langchain_energy_guard.guarded import guarded

from energy_guard import Policy, Result
from energy_guard.errors import ConfigError, MismatchError

pytestmark = pytest.mark.model

SKY = {"question": "What colour is the sky? Answer in one word."}
PROMPT = ChatPromptTemplate.from_template("{question}")
ABSTENTION = "I am not sure enough to answer that."


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    chat = chat_llama()
    yield chat
    chat.client.close()


@pytest.fixture
def text(model: Any) -> Iterator[Any]:
    """A chain from a question to a text; its engine is found as it was."""
    before = set(vars(model.client))
    yield PROMPT | model | StrOutputParser()
    assert set(vars(model.client)) == before


def policy(abstain: float = 0.0, retries: int = 0, **options: Any) -> Policy:
    """Withholds everything, unless told otherwise."""
    return Policy(detector="nll:max", warn=0.0, abstain=abstain, retries=retries, **options)


class Heard(BaseCallbackHandler):
    """Notes custom events and the prompts of the model."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        self.events.append((name.removeprefix("energy_guard_"), data))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]


def test_an_answer_that_is_shown_passes(text: Any, model: Any) -> None:
    assert guarded(text, policy(99), model=model).invoke(SKY) == text.invoke(SKY)


def test_a_text_takes_the_place_of_a_withheld_text(text: Any, model: Any) -> None:
    rules = policy(abstention_text="Ask somebody else.")
    assert guarded(text, rules, model=model).invoke(SKY) == "Ask somebody else."


def test_a_message_takes_the_place_of_a_withheld_message(text: Any, model: Any) -> None:
    answer = guarded(PROMPT | model, policy(), model=model).invoke(SKY)
    assert isinstance(answer, AIMessage)
    assert answer.content == ABSTENTION
    found = answer.response_metadata["energy_guard"]
    assert found["verdict"] == "abstain"
    assert found["shown"] is False
    assert not {"answer", "text", "span", "tokens"} & found.keys()
    assert text.invoke(SKY) not in answer.model_dump_json()


def test_where_data_is_expected_the_error_is_raised(text: Any, model: Any) -> None:
    chain = PROMPT | model | JsonOutputParser()
    with pytest.raises(AnswerWithheldError):
        guarded(chain, policy(), model=model).invoke(SKY)


def test_where_a_tool_call_is_forced_the_error_is_raised(text: Any, model: Any) -> None:
    function = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
    tool = {"type": "function", "function": function}
    forced = {"type": "function", "function": {"name": "weather"}}
    chain = PROMPT | model.bind(tools=[tool], tool_choice=forced)
    with pytest.raises(AnswerWithheldError) as caught:
        guarded(chain, policy(), model=model).invoke(SKY)
    assert caught.value.structured


def test_the_user_says_what_stands_for_an_answer(text: Any, model: Any) -> None:
    chain = RunnablePassthrough.assign(answer=text)

    def nothing(result: Result) -> dict[str, Any]:
        return {"answer": None, "why": result.reason}

    assert guarded(chain, policy(99), model=model).invoke(SKY)["answer"] == text.invoke(SKY)
    out = guarded(chain, policy(), model=model, abstention=nothing).invoke(SKY)
    assert out["answer"] is None
    assert "limit of 0" in out["why"]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_are_bounded(text: Any, model: Any, retries: int) -> None:
    heard = Heard()
    results: list[Result] = []

    def abstention(result: Result) -> str:
        results.append(result)
        return ABSTENTION

    rules = policy(retries=retries)
    chain = guarded(text, rules, model=model, abstention=abstention)
    assert chain.invoke(SKY, {"callbacks": [heard]}) == ABSTENTION
    one = ["decision", "retracted"]
    assert heard.names == [*one, *[*["retry"], *one] * retries, "abstained"]
    moves = [data["move"] for name, data in heard.events if name == "decision"]
    assert moves == ["retry"] * retries + ["abstain"]
    texts = [attempt.trace.text for result in results for attempt in result.attempts]
    assert len(set(texts)) == retries + 1  # sampled anew each time
    withdrawn = [data["characters"] for name, data in heard.events if name == "retracted"]
    assert withdrawn == [len(text) for text in texts]


def test_a_retry_can_succeed(text: Any, model: Any) -> None:
    """The greedy answer is at 2.7; a given seed makes the samples repeatable."""
    heard = Heard()
    seeded = PROMPT | model.bind(seed=80) | StrOutputParser()
    chain = guarded(seeded, policy(2.6, retries=10), model=model)
    answer = chain.invoke(SKY, {"callbacks": [heard]})
    assert answer not in (ABSTENTION, seeded.invoke(SKY))
    last = [data for name, data in heard.events if name == "decision"][-1]
    assert last["shown"]
    assert last["kept"] == last["attempt"] > 1
    assert chain.invoke(SKY) == answer


@contextmanager
def prompts_of(model: Any) -> Iterator[list[list[dict[str, str]]]]:
    """What the engine is told, call by call."""
    from llama_cpp import llama_chat_format

    prompts: list[list[dict[str, str]]] = []
    before = model.client.chat_handler
    chat = model.client._chat_handlers.get(
        model.client.chat_format
    ) or llama_chat_format.get_chat_completion_handler(model.client.chat_format)

    def handler(**kwargs: Any) -> Any:
        prompts.append(kwargs["messages"])
        return chat(**kwargs)

    model.client.chat_handler = handler
    try:
        yield prompts
    finally:
        model.client.chat_handler = before


def test_feedback_names_the_weak_span(text: Any, model: Any) -> None:
    with prompts_of(model) as prompts:
        guarded(text, policy(retries=1, retry=("feedback",)), model=model).invoke(SKY)
    first, second = prompts
    assert second[: len(first)] == first
    assert second[-2] == {"role": "assistant", "content": text.invoke(SKY)}
    assert "“deep”" in second[-1]["content"]


def test_more_gives_the_input_of_a_retry(model: Any) -> None:
    """A retriever is asked for more, as often as the policy retries."""
    passages = ["The sky is green.", "The sky is blue.", "The sky is wide."]
    wanted: list[int] = []
    errors: list[AnswerRetryError] = []

    def retrieve(asked: dict[str, Any]) -> dict[str, Any]:
        wanted.append(asked["k"])
        return {"question": " ".join(passages[: asked["k"]])}

    def more(asked: dict[str, Any], error: AnswerRetryError) -> dict[str, Any]:
        errors.append(error)
        return {"k": asked["k"] + 1}

    chain = RunnableLambda(retrieve) | PROMPT | model | StrOutputParser()
    asked = guarded(chain, policy(retries=2), model=model, more=more)
    assert asked.invoke({"k": 1}) == ABSTENTION
    assert wanted == [1, 2, 3]
    assert [len(error.result.attempts) for error in errors] == [1, 2]


def test_the_fallback_answers_what_is_withheld(text: Any, model: Any) -> None:
    heard = Heard()
    other = RunnableLambda(lambda asked: f"other: {asked['question']}")
    chain = guarded(text, policy(retries=1), model=model, fallback=other)
    assert chain.invoke(SKY, {"callbacks": [heard]}) == f"other: {SKY['question']}"
    assert heard.names[-1] == "fallback"
    assert heard.names.count("retry") == 1


def test_a_fallback_may_be_a_retry_of_the_policy(text: Any, model: Any) -> None:
    rules = policy(retries=2, retry=("fallback",))
    heard = Heard()
    chain = guarded(text, rules, model=model, fallback=RunnableLambda(lambda _: "other"))
    assert chain.invoke(SKY, {"callbacks": [heard]}) == "other"
    assert heard.names.count("decision") == 1
    with pytest.raises(ConfigError, match="there is none"):
        guarded(text, rules, model=model)
    inside = text.with_config(callbacks=[EnergyGuardCallbackHandler(model, rules)])
    with pytest.raises(ConfigError, match="there is none"):
        guarded(inside).invoke(SKY)


def test_the_handler_may_be_the_chains_own(text: Any, model: Any) -> None:
    """Its policy is carried out, unless another one is given."""
    handler = EnergyGuardCallbackHandler(model, policy(retries=1))
    chain = text.with_config(callbacks=[handler])
    heard = Heard()
    assert guarded(chain).invoke(SKY, {"callbacks": [heard]}) == ABSTENTION
    assert heard.names.count("decision") == 2
    assert guarded(chain, policy(99)).invoke(SKY) == text.invoke(SKY)
    with pytest.raises(MismatchError):
        guarded(chain, Policy(detector="entropy:mean", warn=1.0)).invoke(SKY)


def test_a_fallback_in_the_chain_hands_nothing_out_that_nobody_judged(
    text: Any, model: Any
) -> None:
    """The engine of a user's own model is watched, and no other answer."""
    chain = text.with_fallbacks([RunnableLambda(lambda _: "unjudged")])
    asked = guarded(chain, policy(retries=1), model=model)
    assert asked.invoke(SKY) == ABSTENTION
    assert asyncio.run(asked.ainvoke(SKY)) == ABSTENTION
    again = text.with_fallbacks([text])
    assert guarded(again, policy(99), model=model).invoke(SKY) == text.invoke(SKY)


def test_a_model_that_is_watched_and_not_asked_judges_nothing(text: Any, model: Any) -> None:
    from langchain_core.language_models import FakeListChatModel

    other: Any = FakeListChatModel(responses=["unjudged"])
    with pytest.raises(ConfigError, match="nobody judged"):
        guarded(other, policy(99), model=model).invoke("?")


def test_rules_without_a_model_are_refused(text: Any) -> None:
    with pytest.raises(ConfigError, match="belong to the model"):
        guarded(text, detector="nll:max")


def test_nothing_is_streamed_before_the_verdict(text: Any, model: Any) -> None:
    assert list(guarded(text, policy(), model=model).stream(SKY)) == [ABSTENTION]
    shown = guarded(text, policy(99), model=model)
    assert "".join(shown.stream(SKY)) == text.invoke(SKY)


def test_all_forms_decide_alike(text: Any, model: Any) -> None:
    chain = guarded(text, policy(retries=1), model=model)

    async def forms() -> list[Any]:
        streamed = [chunk async for chunk in chain.astream(SKY)]
        batched = await chain.abatch([SKY] * 8)
        return [await chain.ainvoke(SKY), *streamed, *batched]

    assert chain.batch([SKY] * 3) == [ABSTENTION] * 3
    assert asyncio.run(forms()) == [ABSTENTION] * 10


def test_more_may_be_a_coroutine(text: Any, model: Any) -> None:
    asked: list[Any] = []

    async def more(given: Any, error: AnswerRetryError) -> Any:
        asked.append(error)
        return given

    chain = guarded(text, policy(retries=1), model=model, more=more)
    assert asyncio.run(chain.ainvoke(SKY)) == ABSTENTION
    assert len(asked) == 1


def test_events_show_in_astream_events(text: Any, model: Any) -> None:
    chain = guarded(text, policy(retries=1), model=model)

    async def names() -> list[str]:
        stream = chain.astream_events(SKY, version="v2")
        return [e["name"] async for e in stream if e["event"] == "on_custom_event"]

    one = ["energy_guard_decision", "energy_guard_retracted"]
    expected = [*one, "energy_guard_retry", *one, "energy_guard_abstained"]
    assert asyncio.run(names()) == expected


def test_several_calls_of_a_chain_are_judged_apart(text: Any, model: Any) -> None:
    """The second call is withheld; its retries are counted, and the first one's score is not."""
    heard = Heard()
    again = RunnableLambda(lambda said: {"question": f"Write a poem about this: {said}"})
    chain = guarded(text | again | text, policy(3.0, retries=2), model=model)
    chain.invoke(SKY, {"callbacks": [heard]})
    decisions = [data for name, data in heard.events if name == "decision"]
    assert decisions[0]["shown"]
    assert heard.names.count("retry") <= 2
    by_call = [data["attempt"] for data in decisions]
    assert by_call[:2] == [1, 1]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_branches_are_not_mixed_up(text: Any, model: Any, asynchronous: bool) -> None:
    """The other branch comes first in the retry; each is told of its own answer."""
    runs = {"fruit": 0, "city": 0}

    def branch(what: str, late_in: int) -> Any:
        def asks(_: Any) -> dict[str, str]:
            runs[what] += 1
            if runs[what] == late_in:
                time.sleep(0.5)
            return {"question": f"Name a {what}."}

        return RunnableLambda(asks) | text

    both: Any = RunnableParallel(a=branch("fruit", 1), b=branch("city", 2))
    rules = policy(retries=2, retry=("feedback",), nothing_to_check="withhold")
    chain = guarded(both, rules, model=model, abstention=lambda result: result.reason)
    with prompts_of(model) as prompts:
        if asynchronous:
            asyncio.run(chain.ainvoke({}))
        else:
            chain.invoke({})
    told: dict[str, str] = {}
    for asked, *feedback in prompts:
        if feedback:
            told.setdefault(asked["content"], feedback[0]["content"])
    assert told == {question: text.invoke({"question": question}) for question in told}
    assert told
    if not asynchronous:  # there, the first round leaves a branch behind that is not done yet
        assert len(told) == 2


def test_the_deadline_is_for_all_attempts(text: Any, model: Any) -> None:
    heard = Heard()
    rules = policy(retries=10, deadline_s=0.5, nothing_to_check="withhold")
    assert guarded(text, rules, model=model).invoke(SKY, {"callbacks": [heard]}) == ABSTENTION
    assert heard.names.count("retry") < 10


def test_an_engine_error_is_not_taken_for_an_abstention(text: Any, model: Any) -> None:
    chain = guarded(text, policy(), model=model)
    with pytest.raises(ValueError, match="context window"):
        chain.invoke({"question": "word " * 2000})
    assert chain.invoke(SKY) == ABSTENTION


def test_what_a_function_returns_is_known_from_its_annotation(model: Any) -> None:
    def ask(asked: dict[str, str]) -> AIMessage:
        said = model.invoke(asked["question"])
        assert isinstance(said, AIMessage)
        return said

    message = guarded(RunnableLambda(ask), policy(), model=model).invoke(SKY)
    assert message.content == ABSTENTION, "in a module whose annotations are text"
    assert message.response_metadata["energy_guard"]["verdict"] == "abstain"
