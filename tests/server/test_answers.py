"""What a response says: the answer, or a text in its place, and what the guard says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from served import LAX, served

from energy_guard import Guard, Policy, Request, Sampling
from energy_guard.backends import Scripted
from energy_guard.backends.llama_cpp import LlamaCpp

STRICT = Policy(detector="nll:max", warn=0.5, abstain=1.0)
SURE = [("The capital is ", 0.99), ("Par", 0.97), ("is", 0.99), (".", 0.99)]
WITHHELD = [("The capital is ", 0.99), ("Tim", 0.2), ("buktu", 0.99), (".", 0.99)]
WORDS = ("Tim", "buktu")
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "city", "schema": {"type": "object", "properties": {}}},
}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def told(*scripts: list[tuple[str, float]], policy: Policy = STRICT, **fields: Any) -> Any:
    """The response to one question, whose answers are played."""
    settings = fields.pop("settings", {})
    with served(Guard(Scripted.saying(*scripts), policy), **settings) as server:
        return server.chat(**fields)


def test_an_answer_is_openais_with_the_verdict_beside_it() -> None:
    response = told(SURE)
    data = response.json()
    [choice] = data["choices"]
    assert (data["object"], data["model"]) == ("chat.completion", "scripted")
    assert choice["message"] == {
        "role": "assistant",
        "content": "The capital is Paris.",
        "refusal": None,
    }
    assert choice["finish_reason"] == "stop"
    assert data["energy_guard"]["verdict"] == "accept"
    assert data["energy_guard"]["span"]["text"] == "Paris"
    assert choice["logprobs"] == {
        "content": None,
        "refusal": None,
        "energy_guard": data["energy_guard"],
    }
    assert response.headers["x-energy-guard-verdict"] == "accept"
    assert data["usage"] == {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}


@pytest.mark.parametrize("details", ["none", "summary", "shown"])
def test_words_that_are_withheld_stand_nowhere_in_the_response(details: str) -> None:
    response = told(WITHHELD, logprobs=True, energy_guard={"details": details})
    [choice] = response.json()["choices"]
    assert choice["message"]["content"] is None
    assert choice["message"]["refusal"] == STRICT.abstention_text
    assert choice["finish_reason"] == "content_filter"
    assert choice["logprobs"]["content"] == []
    assert response.headers["x-energy-guard-verdict"] == "abstain"
    assert not any(word in response.text for word in WORDS)


def test_words_that_are_withheld_are_told_only_if_server_and_request_agree() -> None:
    asking = {"energy_guard": {"details": "full"}}
    refused = told(WITHHELD, **asking)
    assert refused.status_code == 403
    assert refused.json()["error"]["param"] == "energy_guard.details"
    data = told(WITHHELD, settings={"reveal": True}, **asking).json()
    assert data["choices"][0]["message"]["content"] is None
    assert data["energy_guard"]["answer"] == "The capital is Timbuktu."
    assert data["energy_guard"]["tokens"][1]["text"] == "Tim"


def test_a_withheld_structured_answer_ends_with_stop() -> None:
    [choice] = told(WITHHELD, response_format=SCHEMA).json()["choices"]
    assert choice["finish_reason"] == "stop"
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (
        None,
        STRICT.abstention_text,
    )


def test_an_abstention_is_content_as_well_if_the_server_is_told_so() -> None:
    [choice] = told(WITHHELD, settings={"refusal_as_content": True}).json()["choices"]
    assert choice["message"]["content"] == choice["message"]["refusal"] == STRICT.abstention_text


def test_the_verdict_of_several_answers_is_the_worst() -> None:
    response = told(SURE, WITHHELD, SURE, n=3)
    data = response.json()
    contents = [choice["message"]["content"] for choice in data["choices"]]
    assert contents == ["The capital is Paris.", None, "The capital is Paris."]
    assert response.headers["x-energy-guard-verdict"] == "abstain"
    assert data["energy_guard"] == data["choices"][1]["logprobs"]["energy_guard"]
    assert data["usage"]["prompt_tokens"] == 1


def test_an_answer_without_a_score_is_withheld() -> None:
    data = told(SURE, max_tokens=2).json()
    assert data["energy_guard"]["verdict"] == "unscored"
    assert data["choices"][0]["message"]["content"] is None


def test_an_answer_that_is_cut_off_and_shown_ends_with_length() -> None:
    [choice] = told(SURE, policy=LAX, max_tokens=2).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (
        "The capital is Par",
        "length",
    )


def test_listed_tokens_make_up_the_content() -> None:
    think = [("<think>", 0.9), ("Lyon?", 0.9), ("</think>", 0.9), ("\n\n", 0.9), *SURE]
    [choice] = told(think, policy=LAX, logprobs=True, top_logprobs=0).json()["choices"]
    content = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == choice["message"]["content"]
    assert [bytes(entry["bytes"]).decode() for entry in content] == [text for text, _ in SURE]
    assert content[1]["logprob"] == pytest.approx(-0.0305, abs=1e-4)


CALL = [
    ('{"name": "weather", "arguments": {"city": "', 0.99),
    ("Par", 0.97),
    ("is", 0.99),
    ('"}}', 0.99),
]


def test_a_call_is_a_call_with_the_scores_of_its_arguments() -> None:
    data = told(CALL, tools=[TOOL]).json()
    [choice] = data["choices"]
    [call] = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert (choice["message"]["content"], call["type"]) == (None, "function")
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == (
        "weather",
        {"city": "Paris"},
    )
    [scored] = data["energy_guard"]["tool_calls"]
    assert scored["arguments"]["city"]["score"] == pytest.approx(0.0305, abs=1e-4)


def test_a_call_in_a_fence_is_a_call() -> None:
    fenced = [("```json\n", 0.99), *CALL, ("\n```", 0.99)]
    [choice] = told(fenced, policy=LAX, tools=[TOOL]).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {
        "city": "Paris"
    }


def test_a_call_in_a_form_that_cannot_be_read_is_no_answer() -> None:
    described = [("I would write ", 0.99), *CALL]
    data = told(described, policy=LAX, tools=[TOOL]).json()
    [choice] = data["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["content"] is None and choice["message"]["refusal"]
    assert "tool_calls" not in choice["message"]
    assert len(data["energy_guard"]["unread_tool_calls"]) == 1


@pytest.mark.parametrize("form", ["{}", "[{}]", "<tool_call>{}</tool_call>"])
@pytest.mark.parametrize(
    "written",
    [
        '{"name": "wether", "arguments": {"city": "Paris"}}',
        '{"name": "weather"}',
        '{"name": "weather", "arguments": "Paris"}',
        '{"name": "weather", "arguments": {"city": NaN}}',
        '{"name": "weather", "arguments": {"city": 1e999}}',
        '{"name": "weather", "arguments": {"city": "Paris", "city": "Rome"}}',
        r'{"name": "weather", "arguments": {"city": "\ud800"}}',
        r'{"name": "weather", "arguments": {"\ud800": "Paris"}}',
    ],
)
def test_a_call_that_no_program_should_make_is_a_refusal(written: str, form: str) -> None:
    response = told([(form.replace("{}", written), 0.99)], policy=LAX, tools=[TOOL])
    assert response.status_code == 200
    [choice] = response.json()["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["content"] is None and choice["message"]["refusal"]
    assert "tool_calls" not in choice["message"]
    assert len(response.json()["energy_guard"]["unread_tool_calls"]) == 1


def test_a_call_is_not_made_beside_one_that_cannot_be_read() -> None:
    both = '[{"name": "weather", "arguments": {"city": "Paris"}}, {"name": "weather"}]'
    response = told([(both, 0.99)], policy=LAX, tools=[TOOL])
    [choice] = response.json()["choices"]
    assert "Paris" not in response.text
    assert choice["finish_reason"] == "content_filter"
    assert "tool_calls" not in choice["message"]


def test_a_call_that_no_program_should_make_has_one_verdict_everywhere() -> None:
    said = [("I asked for Paris.\n", 0.99), ('{"name": "wether", "arguments": {}}', 0.99)]
    with served(Guard(Scripted.saying(said), LAX)) as server:
        response = server.chat(tools=[TOOL])
        counted = server.http.get("/metrics").text
    block = response.json()["energy_guard"]
    [choice] = response.json()["choices"]
    assert (block["verdict"], block["shown"], block["score"]) == ("unscored", False, None)
    assert choice["message"]["refusal"] == block["text"] == LAX.abstention_text
    assert response.headers["x-energy-guard-verdict"] == "unscored"
    assert 'energy_guard_verdicts_total{verdict="unscored"} 1.0' in counted
    assert "I asked for Paris" not in response.text


def test_a_call_that_no_program_should_make_is_tried_again() -> None:
    wrong = [('{"name": "wether", "arguments": {}}', 0.99)]
    again = LAX.model_copy(update={"retries": 1})
    [choice] = told(wrong, CALL, policy=again, tools=[TOOL]).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"


def test_arguments_in_a_string_are_the_same_call() -> None:
    said = [
        ('{"name": "weather", "arguments": "', 0.99),
        (r"{\"city\": \"Paris\"}", 0.97),
        ('"}', 0.99),
    ]
    data = told(said, tools=[TOOL]).json()
    [call] = data["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    [scored] = data["energy_guard"]["tool_calls"]
    assert scored["arguments"]["city"]["score"] == pytest.approx(0.0305, abs=1e-4)


def test_a_withheld_call_is_not_made() -> None:
    unsure = [CALL[0], ("Tim", 0.2), ("buktu", 0.99), CALL[3]]
    response = told(unsure, tools=[TOOL], tool_choice="required")
    [choice] = response.json()["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert "tool_calls" not in choice["message"]
    assert not any(word in response.text for word in WORDS)


def test_a_plain_completion_has_its_tokens_in_the_form_of_that_endpoint() -> None:
    with served(Guard(Scripted.saying(SURE, SURE, WITHHELD), STRICT)) as server:
        body = {"prompt": "The capital", "logprobs": 0}
        data = server.http.post("/v1/completions", json=body).json()
        several = server.http.post("/v1/completions", json={"prompt": ["a b", "c"]}).json()
    [choice] = data["choices"]
    assert (data["object"], choice["text"]) == ("text_completion", "The capital is Paris.")
    assert choice["logprobs"]["tokens"] == [text for text, _ in SURE]
    assert choice["logprobs"]["text_offset"] == [0, 15, 18, 20]
    assert choice["logprobs"]["token_logprobs"][1] == pytest.approx(-0.0305, abs=1e-4)
    assert [choice["text"] for choice in several["choices"]] == ["The capital is Paris.", ""]
    assert several["choices"][1]["finish_reason"] == "content_filter"
    assert several["usage"]["prompt_tokens"] == 3


def test_an_answer_that_exists_is_judged() -> None:
    with served(Guard(Scripted.saying(SURE, WITHHELD), STRICT)) as server:
        asked = {"messages": [{"role": "user", "content": "?"}]}
        good = server.http.post("/v1/score", json=asked | {"answer": "The capital is Paris."})
        body = {"prompt": "?", "answer": "The capital is Timbuktu.", "details": "full"}
        bad = server.http.post("/v1/score", json=body).json()["energy_guard"]
    assert good.json()["energy_guard"]["verdict"] == "accept"
    assert (bad["verdict"], bad["answer"]) == ("abstain", "The capital is Timbuktu.")


@pytest.mark.parametrize("refusal", [STRICT.abstention_text, None])
@pytest.mark.parametrize("content", [STRICT.abstention_text, None])
def test_a_question_whose_answer_was_withheld_is_forgotten(
    content: str | None, refusal: str | None
) -> None:
    seen: list[Request] = []

    class Listening(Scripted):
        def measure(self, request: Request) -> Any:
            seen.append(request)
            return super().measure(request)

    withheld = {"role": "assistant", "content": content, "refusal": refusal}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Who won?"}]},
        withheld,
        {"role": "user", "content": "And then?"},
    ]
    with served(Guard(Listening.saying(SURE), STRICT)) as server:
        assert server.chat(messages=messages).status_code == 200
    turns = [(turn.role, turn.content) for turn in seen[0].messages or ()]
    assert turns == [("system", "Be brief."), ("user", "And then?")]


@pytest.mark.model
@pytest.mark.parametrize("seed", [None, 7])
def test_the_same_question_gets_the_same_answer_in_process_and_over_http(
    demo: LlamaCpp, seed: int | None
) -> None:
    guard = Guard(demo)
    question = "What is the chemical symbol for gold? Answer in one short sentence."
    sampling = Sampling() if seed is None else Sampling(temperature=0.9, seed=seed)
    here = guard.ask(question, max_tokens=40, sampling=sampling).to_dict("full")
    fields: dict[str, Any] = {"max_tokens": 40, "energy_guard": {"details": "full"}}
    fields |= {} if seed is None else {"temperature": 0.9, "seed": seed}
    with served(guard, reveal=True) as server:
        there = server.chat(question, **fields).json()["energy_guard"]
    assert there == json.loads(json.dumps(here))
    assert len(there["tokens"]) > 5


@pytest.mark.model
def test_alternatives_are_those_of_the_rows_that_chose_the_tokens(demo: LlamaCpp) -> None:
    question = "What is the chemical symbol for gold? Answer in one short sentence."
    with served(Guard(demo, LAX)) as server:
        fields: dict[str, Any] = {"max_tokens": 30, "logprobs": True}
        plain = server.chat(question, **fields).json()
        told = server.chat(question, top_logprobs=3, **fields).json()
        body = {"prompt": "The capital of France is", "max_tokens": 4, "logprobs": 2}
        text = server.http.post("/v1/completions", json=body).json()
    [choice] = told["choices"]
    assert choice["message"] == plain["choices"][0]["message"]
    listed = choice["logprobs"]["content"]
    assert len(listed) > 5
    for entry in listed:  # greedy: the chosen one is the likeliest
        first, second, third = entry["top_logprobs"]
        assert (first["token"], first["bytes"]) == (entry["token"], entry["bytes"])
        assert first["logprob"] == pytest.approx(entry["logprob"], abs=1e-6)
        assert first["logprob"] >= second["logprob"] >= third["logprob"]
    logprobs = text["choices"][0]["logprobs"]
    for token, value, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert len(top) == 2
        assert top[token] == pytest.approx(value, abs=1e-6)
