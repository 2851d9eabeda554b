"""What a response says of each token, and answers that begin with tokens of an earlier one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from served import Served, served

from energy_guard import Guard, Policy, Profile, load
from energy_guard.backends import Scripted
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.energy import FORMULAS
from energy_guard.judge import Judge
from energy_guard.profile import Calibration

STRICT = Policy(detector="nll:max", warn=0.5, abstain=1.0)
SURE = [("The capital is ", 0.99), ("Par", 0.55), ("is", 0.99), (".", 0.99)]
WITHHELD = [("The capital is ", 0.99), ("Tim", 0.2), ("buktu", 0.99), (".", 0.99)]
LYON = [("Lyon", 0.7), (".", 0.99)]
LYON_WHOLE = [("The capital is ", 0.99), *LYON]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def guard(*scripts: list[tuple[str, float]], policy: Policy = STRICT) -> Guard:
    return Guard(Scripted.saying(*scripts), policy)


def asked(server: Served, *, fields: dict[str, Any] | None = None, **options: Any) -> Any:
    body = {"logprobs": True, "top_logprobs": 2} | (fields or {})
    return server.chat(**body, energy_guard={"signals": True} | options)


def entries_of(response: Any) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = response.json()["choices"][0]["logprobs"]["content"]
    return listed


def chunks(text: str) -> list[dict[str, Any]]:
    events = [part for part in text.split("\n\n") if part.startswith("data: {")]
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_a_listed_token_has_the_signals_that_its_result_has() -> None:
    with served(guard(SURE)) as server:
        response = asked(server, details="shown")
    tokens = response.json()["energy_guard"]["tokens"]
    entries = entries_of(response)
    assert [entry["energy_guard"]["index"] for entry in entries] == [0, 1, 2, 3]
    for entry, token in zip(entries, tokens, strict=False):
        said = entry["energy_guard"]
        assert token.pop("text") == entry["token"]
        assert {name: said[name] for name in token} == token
        assert said.keys() - token.keys() == {"index", "risk", "level", "exact"}
        assert said["nll"] == pytest.approx(-entry["logprob"])
    assert FORMULAS.keys() <= tokens[0].keys()


def test_a_listed_token_has_its_risk_and_level_and_whether_it_is_of_the_exact_answer() -> None:
    with served(guard(SURE)) as server:
        said = [entry["energy_guard"] for entry in entries_of(asked(server))]
    assert [each["level"] for each in said] == ["low", "raised", "low", "low"]
    assert [each["exact"] for each in said] == [False, True, True, False]
    assert [each["risk"] for each in said] == [each["nll"] for each in said]


def test_the_numbers_of_tokens_are_those_of_their_places_behind_reasoning() -> None:
    thought = [("<think>", 0.9), ("Lyon?", 0.3), ("</think>", 0.9), ("\n\n", 0.9), *SURE]
    with served(guard(thought)) as server:
        said = [entry["energy_guard"] for entry in entries_of(asked(server))]
    assert [each["index"] for each in said] == [4, 5, 6, 7]
    assert [each["level"] for each in said] == ["low", "raised", "low", "low"]


def test_alternatives_have_the_ids_that_an_answer_may_go_on_with() -> None:
    backend = Scripted.saying(SURE)
    with served(Guard(backend, STRICT)) as server:
        entries = entries_of(asked(server))
    for entry in entries:
        for each in [entry, *entry["top_logprobs"]]:
            assert backend.vocabulary[each["energy_guard"]["id"]] == each["token"].encode()


def test_nothing_is_said_of_tokens_unless_it_is_asked_for() -> None:
    with served(guard(SURE, SURE)) as server:
        whole = server.chat(logprobs=True, top_logprobs=1)
        live = server.chat(logprobs=True, stream=True, energy_guard={"stream": "live"})
    assert all("energy_guard" not in entry for entry in entries_of(whole))
    assert ["energy_guard" in chunk for chunk in chunks(live.text)].count(True) == 1


@pytest.mark.parametrize("stream", ["live", "sentence"])
def test_each_text_of_a_stream_comes_with_its_risk(stream: str) -> None:
    with served(guard(SURE)) as server:
        response = asked(server, fields={"stream": True}, stream=stream)
    texts = [
        (chunk["choices"][0]["delta"]["content"], chunk["energy_guard"])
        for chunk in chunks(response.text)
        if chunk.get("energy_guard", {}).get("event") == "text"
    ]
    assert [text for text, _ in texts] == ["The capital is ", "Par", "is", "."]
    assert [said["level"] for _, said in texts] == ["low", "raised", "low", "low"]
    assert all(said["risk"] == said["nll"] > 0 for _, said in texts)


@pytest.mark.parametrize("stream", [None, "hold"])
def test_a_withheld_answer_has_no_signals(stream: str | None) -> None:
    with served(guard(WITHHELD)) as server:
        fields = {"stream": True} if stream else {}
        response = asked(server, fields=fields, **({"stream": stream} if stream else {}))
    assert "entropy" not in response.text and "spilled" not in response.text
    assert "buktu" not in response.text


def test_a_withheld_live_answer_has_no_signals_after_it_was_taken_back() -> None:
    with served(guard(WITHHELD)) as server:
        found = chunks(asked(server, fields={"stream": True}, stream="live").text)
    [at] = [i for i, chunk in enumerate(found) if "retracted" in json.dumps(chunk)]
    after = json.dumps(found[at + 1 :])
    assert "entropy" not in after and '"text"' in after  # the text that stands in its place
    assert "buktu" not in after


def test_signals_need_tokens_that_are_listed() -> None:
    with served(guard()) as server:
        response = server.chat(energy_guard={"signals": True})
        text = server.http.post(
            "/v1/completions", json={"prompt": "a", "energy_guard": {"signals": True}}
        )
    assert response.status_code == text.status_code == 400
    assert "needs logprobs: true" in response.json()["error"]["message"]
    assert text.json()["error"]["param"] == "energy_guard.signals"


def test_an_answer_that_begins_with_given_tokens_is_judged_as_a_whole() -> None:
    with served(guard(SURE, LYON, LYON_WHOLE)) as server:
        first = entries_of(asked(server))
        response = asked(server, beginning=[first[0]["energy_guard"]["id"]])
    data = response.json()
    assert data["choices"][0]["message"]["content"] == "The capital is Lyon."
    assert [entry["token"] for entry in entries_of(response)] == ["The capital is ", "Lyon", "."]
    assert data["energy_guard"]["score"] == pytest.approx(0.357, abs=0.001)  # -log 0.7, of "Lyon"
    assert data["energy_guard"]["finish_reason"] == "eos"
    assert any("first 1 tokens were given" in note for note in data["energy_guard"]["notes"])


def guard_that_tries_again(*scripts: list[tuple[str, float]], found: bool) -> Guard:
    """A guard whose profile is for answers that are tried again."""
    backend = Scripted.saying(*scripts)
    profile = Profile(
        model=backend.info.fingerprint,
        backend="scripted",
        mode="chat",
        detector="entropy:max",
        locator="automatic",
        retries=1,
        abstain=0.95,
        calibration=Calibration(slope=1, intercept=0, n=98, n_wrong=40, lowest=0, highest=9),
    )
    judge = Judge.assemble(profile=profile, info=backend.info)
    return Guard(backend, profile=None).with_judge(replace(judge, found=found))


def test_tokens_of_an_answer_with_a_beginning_have_the_risk_that_it_was_judged_by() -> None:
    with served(guard_that_tries_again(SURE, LYON, LYON_WHOLE, found=True)) as server:
        first = [entry["energy_guard"] for entry in entries_of(asked(server))]
        assert [each["risk"] for each in first] == [each["entropy"] for each in first]
        response = asked(server, beginning=[first[0]["id"]])
    assert response.json()["energy_guard"]["detector"] == "nll:max"
    said = [entry["energy_guard"] for entry in entries_of(response)]
    assert [each["risk"] for each in said] == [each["nll"] for each in said]


def test_a_beginning_is_refused_before_anything_is_written_if_it_cannot_be_judged() -> None:
    with served(guard_that_tries_again(SURE, found=False)) as server:
        response = asked(server, beginning=[1])
        assert response.status_code == 400
        assert "it cannot be judged: the profile" in response.json()["error"]["message"]
        assert asked(server).status_code == 200  # its script was not begun


@pytest.mark.parametrize("stream", ["live", "sentence", "hold"])
def test_an_answer_with_a_beginning_that_is_withheld_is_in_no_stream(stream: str) -> None:
    with served(guard(SURE, WITHHELD[1:], WITHHELD)) as server:
        first = entries_of(asked(server))
        beginning = [first[0]["energy_guard"]["id"]]
        response = asked(server, fields={"stream": True}, stream=stream, beginning=beginning)
    assert "buktu" not in response.text and "The capital" not in response.text
    assert chunks(response.text)[-1]["energy_guard"]["verdict"] == "abstain"


def test_an_answer_with_a_beginning_that_does_not_end_is_refused() -> None:
    with served(guard(SURE, LYON)) as server:
        first = entries_of(asked(server))
        beginning = [first[0]["energy_guard"]["id"]]
        response = asked(server, fields={"max_tokens": 1}, beginning=beginning)
    assert response.status_code == 400
    assert "did not come to an end (length)" in response.json()["error"]["message"]
    assert "Lyon" not in response.text


def test_an_answer_with_a_beginning_has_the_time_of_its_policy() -> None:
    backend = Scripted.saying(SURE)
    beginning = [backend.vocabulary.index(b"Par")]
    policy = STRICT.model_copy(update={"deadline_s": 1e-6})
    with served(Guard(backend, policy)) as server:
        response = asked(server, beginning=beginning)
    assert "did not come to an end (deadline)" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("beginning", "why"),
    [
        ([], "at least 1 item"),
        ([-1], "greater than or equal to 0"),
        (["The"], "valid integer"),
        ([257], "a token of the beginning has no text"),
        ([10**9], "a token id is outside the model's vocabulary"),
    ],
    ids=["none", "negative", "text", "control", "unknown"],
)
def test_a_beginning_is_tokens_of_text(tiny_path: Any, beginning: list[Any], why: str) -> None:
    backend = load(tiny_path, n_ctx=256, n_threads=1)
    assert isinstance(backend, LlamaCpp)
    with served(Guard(backend, STRICT)) as server:
        response = asked(server, fields={"max_tokens": 4}, beginning=beginning)
    backend.engine.close()
    assert response.status_code == 400
    assert why in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [TOOL]},
        {"response_format": {"type": "json_object"}},
        {"stop": "."},
        {"n": 2},
    ],
)
def test_a_beginning_goes_with_nothing_that_bends_the_answer(fields: dict[str, Any]) -> None:
    with served(guard()) as server:
        response = server.chat(**fields, energy_guard={"beginning": [1]})
    assert response.status_code == 400
    assert "beginning" in response.json()["error"]["message"]


@pytest.mark.model
def test_the_model_goes_on_as_if_it_had_written_the_beginning(demo: LlamaCpp) -> None:
    question = "What is the capital of France? Answer in one short sentence."
    policy = Policy(detector="nll:max", warn=50.0, abstain=90.0)
    with served(Guard(demo, policy, profile=None)) as server:
        body = {"logprobs": True, "energy_guard": {"signals": True}}
        first = server.chat(question, **body).json()
        entries = first["choices"][0]["logprobs"]["content"]
        ids = [entry["energy_guard"]["id"] for entry in entries[:3]]
        body["energy_guard"] = {"signals": True, "beginning": ids}
        again = server.chat(question, **body).json()
    assert again["choices"][0]["message"] == first["choices"][0]["message"]
    assert again["energy_guard"]["verdict"] == first["energy_guard"]["verdict"]
    assert again["energy_guard"]["score"] == pytest.approx(first["energy_guard"]["score"], abs=0.3)
