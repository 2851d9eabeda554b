"""Calls that a free model writes in odd shapes, and choices that are not understood."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_energy_guard import ChatEnergyGuard, guarded
from langchain_energy_guard.errors import AnswerWithheldError

from energy_guard import Guard, Policy
from energy_guard.backends import Scripted
from energy_guard.errors import InputError
from energy_guard.judge import Judge
from energy_guard.log import TraceLog, read_log
from energy_guard.result import shows
from energy_guard.tools import NOT_MADE, UNREAD

SHOWING = Policy(detector="nll:max", warn=5.0, unscored="show")


def add(x: int = 0, y: int = 0, arguments: dict[str, int] | None = None) -> int:
    """Add two numbers."""
    return x + y + len(arguments or {})


def answered(*pieces: str) -> AIMessage:
    script = Scripted.saying([(piece, 0.9) for piece in pieces])
    model = ChatEnergyGuard.of(script, SHOWING, details="full")
    return model.bind_tools([add]).invoke("?")


def scored(message: AIMessage) -> list[dict[str, Any]]:
    """The words at which the arguments of each call were scored."""
    calls = message.response_metadata["energy_guard"]["tool_calls"]
    assert all(value["score"] for call in calls for value in call["arguments"].values())
    return [
        {name: value["span"]["text"] for name, value in call["arguments"].items()} for call in calls
    ]


ONE = '{"name":"add","arguments":{"x":'
OTHER = '{"name":"add","parameters":{"y":'


@pytest.mark.parametrize(
    ("answer", "spans"),
    [
        (['[{"foo":1},' + ONE, "1", "}}]"], [{"x": "1"}]),
        (["[7," + ONE, "1", "}}]"], [{"x": "1"}]),
        (['{"parameters":{"y":2},' + ONE[1:], "1", "}}"], [{"x": "1"}]),
        ([ONE, "1", ',"arguments":{"y":', "3", "}}}"], [{"x": "1", "arguments": "3"}]),
        (["[" + ONE, "1", "}}," + OTHER, "2", "}}]"], [{"x": "1"}, {"y": "2"}]),
    ],
    ids=["no call before", "no object before", "both keys", "nested key", "two"],
)
def test_each_argument_is_scored_where_it_stands(
    answer: list[str], spans: list[dict[str, str]]
) -> None:
    message = answered(*answer)
    assert [list(call["args"]) for call in message.tool_calls] == [list(span) for span in spans]
    assert scored(message) == spans


def test_a_call_has_one_id_in_the_chunks_and_in_the_message() -> None:
    seen: list[str] = []

    class Chunks(BaseCallbackHandler):
        run_inline = True

        def on_llm_new_token(self, token: str, *, chunk: Any = None, **_: Any) -> None:  # type: ignore[override]
            seen.extend(call["id"] for call in chunk.message.tool_calls)

    script = [(ONE, 0.9), ("1", 0.9), ("}}", 0.9)]
    bound = ChatEnergyGuard.of(Scripted.saying(script, script), SHOWING).bind_tools([add])
    told: Any = {"input": "?", "config": {"callbacks": [Chunks()]}, "stream": True}
    messages = [bound.invoke(**told), asyncio.run(bound.ainvoke(**told))]
    assert seen == [message.tool_calls[0]["id"] for message in messages]


@pytest.mark.parametrize("choice", [{"type": "any"}, {"function": "add"}, {}], ids=str)
def test_a_choice_in_another_form_is_an_input_error(choice: dict[str, Any]) -> None:
    model = ChatEnergyGuard.of(Scripted.saying(), SHOWING)
    with pytest.raises(InputError, match="tool_choice is"):
        model.bind_tools([add], tool_choice=choice)


WRONG = 0.001


def called(*pieces: str | tuple[str, float]) -> AIMessage:
    said = [piece if isinstance(piece, tuple) else (piece, 0.97) for piece in pieces]
    return ChatEnergyGuard.of(Scripted.saying(said)).bind_tools([add]).invoke("?")


@pytest.mark.parametrize(
    "answer",
    [
        ["I will add them.\n", "<tool_call>", ONE, ("900", WRONG), "}}", "</tool_call>"],
        ["<tool_call>", ONE, "1", "}}</tool_call>\n<tool_call>", ONE, ("900", WRONG), "}}"],
        ["<tool_call>", ONE, ("900", WRONG), "}}</tool_call>", " That is all."],
        ["<think>Hm.</think>", "<tool_call>", ONE, ("900", WRONG), "}}</tool_call>"],
        ["<tool_call>", ONE, "1", "}}</tool_call> It makes", (" 17", WRONG)],
    ],
    ids=["behind a sentence", "the second", "before a sentence", "behind reasoning", "beside"],
)
def test_a_call_is_not_handed_out_if_any_of_its_answer_is_too_risky(
    answer: list[str | tuple[str, float]],
) -> None:
    with pytest.raises(AnswerWithheldError):
        called(*answer)
    sure = [piece if isinstance(piece, str) else piece[0] for piece in answer]
    assert called(*sure).tool_calls


def test_an_answer_with_a_risky_call_inside_its_reasoning_is_withheld() -> None:
    with pytest.raises(AnswerWithheldError):
        called(
            "<think>", "<tool_call>", ONE, ("900", WRONG), "}}", "</tool_call>", "</think>", "Ok"
        )


def test_a_call_inside_reasoning_is_no_call() -> None:
    message = called("<think>", "<tool_call>", ONE, "900", "}}</tool_call>", "</think>", "Nothing.")
    assert message.tool_calls == []
    assert message.content == "Nothing."


def test_the_text_beside_a_call_has_no_reasoning() -> None:
    message = called("<think>Hm.</think>", "I add. ", "<tool_call>", ONE, "1", "}}</tool_call>")
    assert [call["args"] for call in message.tool_calls] == [{"x": 1}]
    assert message.content == "I add."


def test_reasoning_is_not_streamed() -> None:
    said = [(piece, 0.97) for piece in ("<think>", "Lyon?", "</think>", "\n", "Paris")]
    chunks = list(ChatEnergyGuard.of(Scripted.saying(said)).stream("Which city?"))
    assert "".join(chunk.text for chunk in chunks) == "Paris"


CALL = '{"name": "add", "arguments": {"x": 1}}'


WRITTEN = {
    "doubled braces": ("{" + CALL + "}", ""),
    "fence": (f"```json\n{CALL}\n```", ""),
    "fence without a name": (f"```\n{CALL}\n```\n", ""),
    "<tools>": (f"<tools>\n{CALL}\n</tools>", ""),
    "behind words": (f"Sure, I add them.\n{CALL}", "Sure, I add them."),
    "behind words with brackets": (f"Sure (see [1]).\n{CALL}", "Sure (see [1])."),
    "fence behind words": (f"Sure.\n\n```json\n{CALL}\n```\n", "Sure."),
    "doubled braces behind words": ("Sure.\n{" + CALL + "}", "Sure."),
    "behind reasoning": (f"<think>Hm.</think>{CALL}", ""),
    "doubled braces in tags": (f"<tool_call>\n{{{CALL}}}\n</tool_call>", ""),
    "fence in tags": (f"<tool_call>\n```json\n{CALL}\n```\n</tool_call>", ""),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_a_call_is_read_as_models_write_it(form: str) -> None:
    answer, beside = WRITTEN[form]
    message = answered(answer)
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("add", {"x": 1})]
    assert message.invalid_tool_calls == []
    assert message.content == beside


OTHER_CALL = CALL.replace("1", "2")


@pytest.mark.parametrize(
    "answer",
    [
        f"{CALL}\n{OTHER_CALL}",
        f"{CALL} {OTHER_CALL}\n",
        f"{{{CALL}}}\n{{{OTHER_CALL}}}",
        f"Both.\n```json\n{CALL}\n{OTHER_CALL}\n```",
        f"```json\n{CALL}\n```\n\n```json\n{OTHER_CALL}\n```",
        f"<tools>\n{CALL}\n</tools>\n<tools>{OTHER_CALL}</tools>",
        f"<tool_call>\n{CALL}\n{OTHER_CALL}\n</tool_call>",
        f"[{CALL}, {OTHER_CALL}]",
    ],
)
def test_several_calls_are_several(answer: str) -> None:
    message = answered(answer)
    assert [call["args"] for call in message.tool_calls] == [{"x": 1}, {"x": 2}]
    assert message.invalid_tool_calls == []
    assert scored(message) == [{"x": "1"}, {"x": "2"}]


@pytest.mark.parametrize("before", ["{", "```json\n", "<tools>", "Sure.\n", "<tool_call>{"])
def test_the_values_of_a_call_are_judged_in_every_form(before: str) -> None:
    after = {"{": "}", "```json\n": "\n```", "<tools>": "</tools>", "<tool_call>{": "}</tool_call>"}
    said = [before, ONE, "900", "}}", after.get(before, "")]
    assert called(*said).tool_calls[0]["args"] == {"x": 900}
    with pytest.raises(AnswerWithheldError):
        called(*said[:2], ("900", 0.1), *said[3:])


@pytest.mark.parametrize(
    "answer",
    [
        CALL[:-1],
        "{" + CALL,
        f"I would write {CALL}",
        f"{CALL}\nThat is all.",
        f"```json\n{CALL}\n```\nThat is all.",
        f'{{"plan": [\n{CALL}\n]}}',
        f'{{"plan": [\n{CALL}',
        f'{{"name": "note", "arguments": {{"of":\n{CALL}',
    ],
)
def test_a_call_that_cannot_be_read_is_no_answer(answer: str) -> None:
    message = answered(answer)
    assert message.tool_calls == []
    assert [call["error"] for call in message.invalid_tool_calls] == [UNREAD]
    assert message.content == ""


@pytest.mark.parametrize(
    "answer",
    [
        f"<tool_call>{CALL}</tool_call>\n<tool_call>or {CALL}</tool_call>",
        f"Maybe {CALL} or\n{CALL}",
        f"{CALL},\n{CALL}",
    ],
)
def test_a_call_that_cannot_be_read_is_told_of_beside_one_that_can(answer: str) -> None:
    message = answered(answer)
    assert [call["args"] for call in message.tool_calls] == [{"x": 1}]
    assert [call["error"] for call in message.invalid_tool_calls] == [UNREAD]
    assert message.content == ""


@pytest.mark.parametrize("details", ["summary", "none"])
@pytest.mark.parametrize(
    "answer", [CALL[:-1], CALL.replace("add", "sub"), CALL.replace("1", '"1"')]
)
def test_a_call_that_is_not_carried_out_is_never_accepted(answer: str, details: Any) -> None:
    model = ChatEnergyGuard.of(Scripted.saying([(answer, 0.99)] * 1), SHOWING, details=details)
    bound = model.bind_tools([add])
    message = bound.invoke("?")
    block = message.response_metadata["energy_guard"]
    assert (block["verdict"], block["shown"]) == ("unscored", False)
    assert block.get("reason", "not carried out").count("not carried out") == 1
    assert message.invalid_tool_calls and not message.content


UNREADABLE = [("I paid Bob 500 euros.\n", 0.9), (CALL.replace("1", '"5"'), 0.9)]
GOOD = [(CALL, 0.9)]
AGAIN = SHOWING.model_copy(update={"retries": 1})


def test_words_beside_a_call_that_is_not_carried_out_are_withheld_with_it() -> None:
    message = answered(*(piece for piece, _ in UNREADABLE))
    block = message.response_metadata["energy_guard"]
    assert (message.content, block["verdict"], block["shown"]) == ("", "unscored", False)
    assert (block["score"], block["p_wrong"]) == (None, None)
    assert len(message.invalid_tool_calls) == 1


def test_the_event_of_a_call_that_is_not_carried_out_says_what_the_message_says() -> None:
    heard: list[dict[str, Any]] = []

    class Listener(BaseCallbackHandler):
        def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
            heard.append(data)

    bound = ChatEnergyGuard.of(Scripted.saying(UNREADABLE), SHOWING).bind_tools([add])
    chain = RunnableLambda(lambda text, config: bound.invoke(text, config))
    block = chain.invoke("?", {"callbacks": [Listener()]}).response_metadata["energy_guard"]
    [told] = heard
    assert (told["move"], told["shown"]) == (block["verdict"], block["shown"])
    assert told["reason"] == block["reason"] == NOT_MADE


@pytest.mark.parametrize("inside", [False, True])
def test_a_call_that_is_not_carried_out_is_tried_again(inside: bool) -> None:
    bound = ChatEnergyGuard.of(Scripted.saying(UNREADABLE, GOOD), AGAIN).bind_tools([add])
    message = (guarded(bound, AGAIN) if inside else bound).invoke("?")
    assert [call["args"] for call in message.tool_calls] == [{"x": 1}]
    assert message.response_metadata["energy_guard"]["attempts"] == 2


def test_a_fallback_of_the_guard_makes_no_answer_of_such_a_call_either() -> None:
    policy = AGAIN.model_copy(update={"retry": ("fallback",)})
    fallback = Guard(Scripted.saying(UNREADABLE), SHOWING)
    model = ChatEnergyGuard.of(Scripted.saying(UNREADABLE), policy, fallback=fallback)
    message = model.bind_tools([add]).invoke("?")
    assert (message.content, message.tool_calls) == ("", [])
    assert message.response_metadata["energy_guard"]["attempts"] == 2


def test_a_guarded_chain_abstains_from_a_call_that_is_not_carried_out() -> None:
    bound = ChatEnergyGuard.of(Scripted.saying(UNREADABLE), SHOWING).bind_tools([add])
    message = guarded(bound, SHOWING).invoke("?")
    assert (message.content, message.invalid_tool_calls) == (SHOWING.abstention_text, [])
    assert message.response_metadata["energy_guard"]["shown"] is False


@pytest.mark.parametrize("texts", [True, False])
def test_the_log_says_what_the_message_says_also_when_it_is_scored_again(
    tmp_path: Path, texts: bool
) -> None:
    log = TraceLog(tmp_path / "log.jsonl", texts=texts)
    model = ChatEnergyGuard.of(Scripted.saying(UNREADABLE, GOOD), SHOWING, log=log)
    for shown in (False, True):
        model.bind_tools([add]).invoke("?")
        *_, entry = read_log(log.path)
        assert entry.result["shown"] is shown
        judge = Judge.assemble(SHOWING)
        assert shows(judge.final([judge.assess_stored(entry, relocate=False)])) is shown


def test_a_risky_call_that_is_not_carried_out_is_withheld_for_its_risk() -> None:
    risky = [UNREADABLE[0], (UNREADABLE[1][0], WRONG)]
    strict = SHOWING.model_copy(update={"abstain": 5.0})
    with pytest.raises(AnswerWithheldError) as caught:
        ChatEnergyGuard.of(Scripted.saying(risky), strict).bind_tools([add]).invoke("?")
    assert caught.value.result.verdict == "abstain"


@pytest.mark.parametrize("answer", ['{"name": "Oslo"}', "Use add with arguments.", "add(1)"])
def test_words_about_a_tool_are_an_answer(answer: str) -> None:
    message = answered(answer)
    assert (message.content, message.invalid_tool_calls) == (answer, [])


def test_a_tool_whose_schema_is_none_is_refused_when_it_is_bound() -> None:
    tool = {"type": "function", "function": {"name": "pay", "parameters": True}}
    with pytest.raises(InputError, match="tool pay"):
        ChatEnergyGuard.of(Scripted.saying(GOOD)).bind_tools([tool])


TAGS = "<tool_call>{}</tool_call>"
NO_CALLS = [
    ('{"name": "sub", "arguments": {"x": 1}}', "no tool is named 'sub'"),
    (r'{"name": "\ud800", "arguments": {}}', "surrogate"),
    ('{"name": "add"}', "the call of add has no object of arguments"),
    ('{"name": "add", "arguments": null}', "the call of add has no object of arguments"),
    ('{"name": "add", "arguments": "1 and 2"}', "the call of add has no object of arguments"),
    ('{"name": "add", "arguments": "[1, 2]"}', "the call of add has no object of arguments"),
    ('{"name": "add", "arguments": {"x": "1"}}', "$.x is not of the type 'integer'"),
    ('{"name": "add", "arguments": {"z": 1}}', "there is no argument z"),
    ('{"name": "add", "parameters": {"type": "object", "properties": {}}}', "no argument prop"),
    (r'{"name": "add", "arguments": "{\"x\": 1.5}"}', "$.x is not of the type 'integer'"),
    ('{"name": "add", "arguments": {"x": NaN}}', "NaN is no value of JSON"),
    ('{"name": "add", "arguments": {"x": -Infinity}}', "-Infinity is no value of JSON"),
    ('{"name": "add", "arguments": {"x": [1e999]}}', "a number in it is too large"),
    ('{"name": "add", "arguments": {"x": 1, "x": 2}}', "the key 'x' is given twice"),
    ('{"arguments": {"x": 2}, "name": "add", "arguments": {"x": 1}}', "'arguments' is given twice"),
    ('{"name": "add", "name": "sub", "arguments": {}}', "the key 'name' is given twice"),
    (r'{"name": "add", "arguments": {"x": "\ud800"}}', "half a surrogate pair"),
    (r'{"name": "add", "arguments": {"\udc00": 1}}', "half a surrogate pair"),
    (r'{"name": "add", "arguments": "{\"x\": NaN}"}', "NaN is no value of JSON"),
    (r'{"name": "add", "arguments": "{\"x\": 1, \"x\": 2}"}', "the key 'x' is given twice"),
    (r'{"name": "add", "arguments": "{\"x\": \"\\ud800\"}"}', "half a surrogate pair"),
]


@pytest.mark.parametrize("form", ["{}", "[{}]", TAGS, TAGS.replace("{}", "[{}]")])
@pytest.mark.parametrize(("written", "error"), NO_CALLS)
def test_json_that_is_no_good_call_of_a_tool_is_neither_made_nor_shown(
    written: str, error: str, form: str
) -> None:
    message = answered(form.replace("{}", written))
    assert (message.tool_calls, message.content) == ([], "")
    [told] = message.invalid_tool_calls
    assert error in str(told["error"])
    assert written in str(told["args"])


@pytest.mark.parametrize("form", ["{}", "[{}]", TAGS])
def test_a_call_without_an_argument_that_it_needs_is_not_made(form: str) -> None:
    def pay(to: str) -> str:
        """Pay somebody."""
        return to

    written = form.replace("{}", '{"name": "pay", "arguments": {}}')
    script = Scripted.saying([(written, 0.9)])
    message = ChatEnergyGuard.of(script, SHOWING).bind_tools([pay]).invoke("?")
    assert message.tool_calls == []
    assert [call["error"] for call in message.invalid_tool_calls] == [
        "the arguments of pay do not fit: $ lacks to"
    ]


@pytest.mark.parametrize("other", ['{"foo": 1}', "7", '"add"', '{"arguments": {"x": 1}}'])
@pytest.mark.parametrize("form", ["{}", TAGS])
def test_an_item_beside_a_call_that_is_none_is_told_of(other: str, form: str) -> None:
    message = answered(form.replace("{}", f"[{other}, {CALL}]"))
    assert [call["args"] for call in message.tool_calls] == [{"x": 1}]
    assert message.content == ""
    [told] = message.invalid_tool_calls
    assert told["error"] == "a call is an object with a name and arguments"


@pytest.mark.parametrize("inside", ['{"foo": 1}', '"add"', "7", "[]", "[7]", "add(1)", ""])
def test_what_stands_between_tags_and_is_no_call_is_told_of(inside: str) -> None:
    message = answered(TAGS.replace("{}", inside))
    assert (message.tool_calls, message.content) == ([], "")
    assert [call["args"] for call in message.invalid_tool_calls] == [inside]


@pytest.mark.parametrize("form", ["{}", "[{}]", TAGS])
def test_arguments_in_a_string_are_read_and_scored_as_a_whole(form: str) -> None:
    before, after = form.split("{}")
    inside = json.dumps(json.dumps({"x": 1, "y": 2}))[1:-1]
    message = answered(before + '{"name": "add", "arguments": "', inside, '"}' + after)
    assert [call["args"] for call in message.tool_calls] == [{"x": 1, "y": 2}]
    assert message.invalid_tool_calls == []
    assert scored(message) == [{"x": inside, "y": inside}]


@pytest.mark.parametrize("form", ["{}", TAGS])
def test_risky_arguments_in_a_string_are_withheld(form: str) -> None:
    before, after = form.split("{}")
    said = [before + '{"name": "add", "arguments": "', r"{\"x\": ", "900", '}"}' + after]
    assert called(*said).tool_calls[0]["args"] == {"x": 900}
    with pytest.raises(AnswerWithheldError):
        called(*said[:2], ("900", WRONG), said[3])


def test_a_call_beside_tags_that_cannot_be_read_is_not_shown() -> None:
    message = answered(f"{TAGS.replace('{}', CALL)}\n```json\n{CALL}\n```")
    assert [call["args"] for call in message.tool_calls] == [{"x": 1}]
    assert [call["error"] for call in message.invalid_tool_calls] == [UNREAD]
    assert message.content == ""


@pytest.mark.parametrize("answer", ["[]", '["add"]', '[{"name": "Oslo"}, 7]', '{"x": 1, "x": NaN}'])
def test_json_that_is_not_meant_as_a_call_is_an_answer(answer: str) -> None:
    message = answered(answer)
    assert (message.content, message.tool_calls, message.invalid_tool_calls) == (answer, [], [])


def test_tags_in_an_argument_of_a_forced_call_are_its_text() -> None:
    def note(text: str) -> str:
        """Note a text."""
        return text

    written = json.dumps({"name": "note", "arguments": {"text": TAGS.replace("{}", "go")}})
    model = ChatEnergyGuard.of(Scripted.saying([(written, 0.9)]), SHOWING)
    message = model.bind_tools([note], tool_choice="any").invoke("?")
    assert [call["args"] for call in message.tool_calls] == [{"text": TAGS.replace("{}", "go")}]
    assert message.invalid_tool_calls == []
