"""`capture` around the user's own calls: it sees everything and changes nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_contract import finished
from llama_cpp import Llama, LogitsProcessorList, StoppingCriteriaList
from tiny_gguf import write_tiny_gguf

from energy_guard import Trace, capture
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.locks import lock_of
from energy_guard.errors import EngineBusyError, EngineError, InputError
from energy_guard.request import Request
from energy_guard.trace import SIGNALS

TURNS = [{"role": "user", "content": "hello"}]
SCHEMA = {
    "type": "object",
    "properties": {"sure": {"type": "boolean"}, "word": {"enum": ["yes", "no"]}},
    "required": ["sure", "word"],
}


def complete(llm: Llama, **options: Any) -> str:
    return llm("the cat", **{"max_tokens": 8, "temperature": 0} | options)["choices"][0]["text"]


def complete_streaming(llm: Llama) -> str:
    chunks = llm("the cat", max_tokens=8, temperature=0, stream=True)
    return "".join(chunk["choices"][0]["text"] for chunk in chunks)


def chat(llm: Llama, **options: Any) -> str:
    out = llm.create_chat_completion(TURNS, **{"max_tokens": 8, "temperature": 0} | options)
    return out["choices"][0]["message"]["content"]


def chat_streaming(llm: Llama) -> str:
    chunks = llm.create_chat_completion(TURNS, max_tokens=8, temperature=0, stream=True)
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def chat_json(llm: Llama) -> str:
    return chat(llm, max_tokens=60, response_format={"type": "json_object", "schema": SCHEMA})


def sampled(llm: Llama) -> str:
    return complete(llm, temperature=1.0, seed=4, repeat_penalty=1.2)


def stop_string(llm: Llama) -> str:
    return complete(llm, stop=[complete(llm)[2:4]])


def stop_inside_a_chat(llm: Llama) -> str:
    return chat(llm, stop=[chat(llm)[3]])


def biased(llm: Llama) -> str:
    return complete(llm, logits_processor=LogitsProcessorList([prefer_z]))


def criteria(llm: Llama) -> str:
    return complete(llm, stopping_criteria=StoppingCriteriaList([twelve_tokens]))


def ended_by_the_model(llm: Llama) -> str:
    return complete(llm, max_tokens=40, logit_bias={llm.token_eos(): 4})


def prefer_z(_ids: Any, row: Any) -> Any:
    row[ord("z")] += 30
    return row


def twelve_tokens(ids: Any, _scores: Any) -> bool:
    return len(ids) >= 12


CALLS = {
    call.__name__: call
    for call in (
        complete,
        complete_streaming,
        chat,
        chat_streaming,
        chat_json,
        sampled,
        stop_string,
        stop_inside_a_chat,
        biased,
        criteria,
        ended_by_the_model,
    )
}


@pytest.fixture(scope="module")
def loaded(tiny_path: Path) -> Iterator[Llama]:
    llm = open_tiny(tiny_path)
    yield llm
    llm.close()


@pytest.fixture
def llm(loaded: Llama) -> Iterator[Llama]:
    """A fresh engine; after the test it must be as it was."""
    loaded.reset()
    before = set(vars(loaded))
    yield loaded
    left = set(vars(loaded)) - before
    for name in left:  # the next test gets a clean one
        delattr(loaded, name)
    assert not left
    assert not lock_of(loaded).locked


def open_tiny(path: Path, **options: Any) -> Llama:
    single = {"n_ctx": 512, "n_threads": 1, "n_threads_batch": 1, "type_k": 0, "type_v": 0}
    return Llama(str(path), verbose=False, **single | options)


def assert_rows_of(llm: Llama, trace: Trace, prompt: str = "the cat") -> None:
    """The numbers are those of the trace's tokens, chosen again on a fresh state."""
    replayed = finished(LlamaCpp(llm).replay(Request.raw(prompt), trace.ids.tolist()))
    for name in SIGNALS:
        mine, theirs = getattr(trace, name), getattr(replayed, name)
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_text_is_the_same_as_without_capture(llm: Llama, call: Callable[..., str]) -> None:
    plain = call(llm)
    llm.reset()
    with capture(llm) as traces:
        text = call(llm)
    assert text == plain
    assert traces[-1].text == text


REASONS = {
    complete: "length",
    chat_streaming: "length",
    stop_string: "stop",
    stop_inside_a_chat: "stop",
    criteria: "stop",
    ended_by_the_model: "eos",
}


@pytest.mark.parametrize(
    ("call", "reason"), REASONS.items(), ids=lambda x: getattr(x, "__name__", x)
)
def test_why_it_ended(llm: Llama, call: Callable[..., str], reason: str) -> None:
    with capture(llm) as traces:
        call(llm)
    assert traces[-1].finish_reason == reason


@pytest.mark.parametrize(
    "call",
    [complete, complete_streaming, sampled, stop_string, biased, criteria, ended_by_the_model],
)
def test_the_rows_are_raw_and_each_in_its_place(llm: Llama, call: Callable[..., str]) -> None:
    with capture(llm) as traces:
        call(llm)
    assert len(traces[-1]) > 2
    assert_rows_of(llm, traces[-1])


@pytest.mark.parametrize("call", [complete, stop_string, criteria, chat_streaming])
def test_the_row_after_the_last_token_is_there(llm: Llama, call: Callable[..., str]) -> None:
    with capture(llm) as traces:
        call(llm)
    assert len(traces[-1].log_partition) == len(traces[-1]) + 1


def test_the_row_after_the_last_token_is_left_out_on_demand(llm: Llama) -> None:
    with capture(llm, last_row=False) as traces:
        complete(llm)
    assert np.isnan(traces[0].spilled_energy).tolist() == [False] * 7 + [True]


def test_the_end_token_is_in_the_trace_and_not_in_the_text(llm: Llama) -> None:
    with capture(llm) as traces:
        text = ended_by_the_model(llm)
    (trace,) = traces
    assert trace.ids[-1] == llm.token_eos()
    assert (trace.text, trace.content_end) == (text, len(trace) - 1)


def test_content_ends_before_the_stop_string(llm: Llama) -> None:
    whole = complete(llm)
    with capture(llm) as traces:
        complete(llm, stop=[whole[2:4]])
    (trace,) = traces
    assert b"".join(trace.pieces) == whole[:4].encode()
    assert trace.content_bytes == 2


def test_stop_strings_of_one_call_do_not_reach_the_next(llm: Llama) -> None:
    whole = complete(llm)
    with capture(llm) as traces:
        complete(llm)
        complete(llm, stop=[whole[2:4]])
        list(llm.generate(llm.tokenize(b"the cat"), temp=0, stopping_criteria=at_length(13)))
    assert [trace.text for trace in traces] == [whole, whole[:2], whole]
    assert [trace.finish_reason for trace in traces] == ["length", "stop", "stop"]


def at_length(count: int) -> StoppingCriteriaList:
    return StoppingCriteriaList([lambda ids, _scores: len(ids) > count])


def test_grammar_gives_json(llm: Llama) -> None:
    with capture(llm) as traces:
        text = chat_json(llm)
    assert set(json.loads(text)) == {"sure", "word"}
    assert json.loads(traces[0].text) == json.loads(text)
    assert traces[0].nll.max() > 1, "the model alone would not have written this: rows are raw"


def test_every_call_has_its_trace_in_order(llm: Llama) -> None:
    with capture(llm) as traces:
        texts = [complete(llm), chat(llm), complete(llm, max_tokens=3)]
        assert len(traces) == 3, "they are there at once"
    assert [trace.text for trace in traces] == texts


def test_tools_may_generate_several_times(tiny_path: Path) -> None:
    llm = open_tiny(tiny_path, n_ctx=1024, chat_format="chatml-function-calling")
    tool = {
        "type": "function",
        "function": {
            "name": "look",
            "description": "looks",
            "parameters": {"type": "object", "properties": {"far": {"type": "boolean"}}},
        },
    }
    options = {"tools": [tool], "tool_choice": "auto", "temperature": 0, "max_tokens": 40}
    plain = llm.create_chat_completion(TURNS, **options)["choices"][0]["message"]
    llm.reset()
    with capture(llm) as traces:
        message = llm.create_chat_completion(TURNS, **options)["choices"][0]["message"]
    assert {**message, "tool_calls": None} == {**plain, "tool_calls": None}
    assert len(traces) >= 2
    assert traces[0].text in ("message", "functions.look"), "the choice, which ends before a colon"
    assert all(len(trace) for trace in traces)
    llm.close()


def test_streaming_records_a_step_before_its_text_is_shown(llm: Llama) -> None:
    steps = []
    with capture(llm, steps.append) as traces:
        for count, _ in enumerate(llm("the cat", max_tokens=5, temperature=0, stream=True)):
            assert len(steps) == min(count + 1, 5)
            assert traces == [] or count == 5
    assert [step.id for step in steps] == traces[0].ids.tolist()


def test_a_stream_that_is_closed_half_way_has_a_trace(llm: Llama) -> None:
    with capture(llm) as traces:
        stream = llm("the cat", max_tokens=8, temperature=0, stream=True)
        text = next(stream)["choices"][0]["text"] + next(stream)["choices"][0]["text"]
        stream.close()
        assert traces[0].text == text
    assert traces[0].finish_reason == "closed"
    assert_rows_of(llm, traces[0])


def test_a_stream_that_is_never_read_generates_nothing(llm: Llama) -> None:
    with capture(llm) as traces:
        llm("the cat", max_tokens=8, stream=True)
    assert traces == []


def test_on_step_sees_each_step(llm: Llama) -> None:
    steps = []
    with capture(llm, steps.append) as traces:
        complete(llm)
    (trace,) = traces
    assert [step.piece for step in steps] == list(trace.pieces)
    assert [step.nll for step in steps] == trace.nll.tolist()


@pytest.mark.parametrize("call", [complete, complete_streaming, chat, chat_streaming])
def test_on_step_stops_the_generation(llm: Llama, call: Callable[..., str]) -> None:
    plain = call(llm)
    steps: list[Any] = []
    llm.reset()
    with capture(llm, lambda step: steps.append(step) or len(steps) == 3) as traces:
        text = call(llm)
    assert text == traces[0].text == plain[: len(text)]
    assert (len(steps), len(traces[0]), traces[0].finish_reason) == (3, 3, "cancelled")


def test_an_exception_in_user_code_leaves_the_engine_usable(llm: Llama) -> None:
    with pytest.raises(ZeroDivisionError), capture(llm) as traces:
        complete(llm)
        raise ZeroDivisionError
    assert len(traces) == 1
    assert traces[0].text == complete(llm)


def test_an_exception_in_a_stream_leaves_the_engine_usable(llm: Llama) -> None:
    with pytest.raises(ZeroDivisionError), capture(llm) as traces:
        for _ in llm("the cat", max_tokens=8, stream=True):
            raise ZeroDivisionError
    assert [len(trace) for trace in traces] == [1]
    assert len(complete(llm)) == 8


def test_an_exception_in_on_step_reaches_the_user(llm: Llama) -> None:
    def broken(_step: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), capture(llm, broken):
        complete(llm)
    assert len(complete(llm)) == 8


def test_an_exception_in_a_stopping_criterion_reaches_the_user(llm: Llama) -> None:
    def broken(_ids: Any, _scores: Any) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), capture(llm):
        complete(llm, stopping_criteria=StoppingCriteriaList([broken]))
    assert len(complete(llm)) == 8


def test_a_method_that_the_user_replaced_is_put_back(llm: Llama) -> None:
    calls = []
    original = llm.sample

    def own(*args: Any, **kwargs: Any) -> int:
        calls.append(1)
        return original(*args, **kwargs)

    llm.sample = own
    with capture(llm) as traces:
        complete(llm)
    assert llm.sample is own
    assert len(calls) == len(traces[0]) == 8
    del llm.sample


def test_a_guarded_answer_inside_a_capture(llm: Llama) -> None:
    request = Request.raw("a dog", max_tokens=6)
    alone = finished(LlamaCpp(llm).generate([request]))
    llm.reset()
    with capture(llm) as traces:
        inner = finished(LlamaCpp(llm).generate([request]))
        text = complete(llm)
    assert inner.to_json() == alone.to_json()
    assert [trace.text for trace in traces] == [alone.text, text]


def test_a_capture_inside_a_capture(llm: Llama) -> None:
    with capture(llm) as outer:
        with capture(llm) as inner:
            complete(llm)
        chat(llm)
    assert ([len(trace) for trace in outer], [len(trace) for trace in inner]) == ([8, 8], [8])
    assert outer[0].to_json() == inner[0].to_json()


def test_another_thread_has_to_wait_for_the_end_of_a_capture(llm: Llama) -> None:
    errors = []

    def ask() -> None:
        try:
            list(LlamaCpp(llm, wait_s=0.05).generate([Request.raw("x", max_tokens=2)]))
        except EngineBusyError as error:
            errors.append(error)

    with capture(llm):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(30)
    assert len(errors) == 1


def test_capture_waits_for_an_engine_in_use_and_says_so(llm: Llama) -> None:
    errors = []

    def open_capture() -> None:
        try:
            with capture(llm, wait_s=0.05):
                pass
        except EngineBusyError as error:
            errors.append(error)

    events = LlamaCpp(llm).generate([Request.raw("x", max_tokens=4)])
    next(events)
    thread = threading.Thread(target=open_capture)
    thread.start()
    thread.join(30)
    events.close()
    assert len(errors) == 1


def test_only_an_engine_can_be_captured() -> None:
    with pytest.raises(InputError, match="str"), capture("model.gguf"):
        pass


def test_tokens_sent_into_generate_are_refused(llm: Llama) -> None:
    with capture(llm):
        tokens = llm.generate(llm.tokenize(b"the cat"), temp=0)
        next(tokens)
        with pytest.raises(EngineError, match="sent into"):
            tokens.send([65])


@pytest.mark.parametrize("limit", [None, -1, 10_000])
def test_the_end_of_the_context_is_a_length(tiny_path: Path, limit: int | None) -> None:
    endless = write_tiny_gguf(tiny_path.with_name("endless.gguf"), eos_bias=-50)
    llm = open_tiny(endless, n_ctx=256)
    with capture(llm) as traces:
        out = llm("x" * 240, max_tokens=limit, temperature=0)
    llm.close()
    assert out["choices"][0]["finish_reason"] == "length"
    assert traces[0].finish_reason == "length"


def test_arguments_by_position(llm: Llama) -> None:
    with capture(llm) as traces:
        llm.create_completion("the cat", None, 4)
    assert [(len(trace), trace.finish_reason) for trace in traces] == [(4, "length")]


def test_a_generation_that_continues_what_was_evaluated(llm: Llama) -> None:
    start, rest = b"the cat sat on", b" the mat"
    llm.eval(list(start))
    with capture(llm) as traces:
        tokens = llm.generate(list(rest), reset=False, temp=0)
        ids = [next(tokens) for _ in range(4)]
        tokens.close()
    assert llm.n_tokens == len(start) + len(rest) + len(ids), "the context was not cut"
    assert len(traces[0].log_partition) == 5
    replayed = finished(LlamaCpp(llm).replay(Request(ids=tuple(start + rest)), ids))
    np.testing.assert_allclose(traces[0].spilled_energy, replayed.spilled_energy, rtol=0, atol=1e-4)


def test_a_replay_inside_a_capture(llm: Llama) -> None:
    request = Request.raw("a dog", max_tokens=6)
    alone = finished(LlamaCpp(llm).generate([request]))
    with capture(llm):
        again = finished(LlamaCpp(llm).replay(request, alone.ids.tolist()))
        complete(llm)
    assert again.ids.tolist() == alone.ids.tolist()


def test_on_step_stops_a_guarded_answer_inside_a_capture(llm: Llama) -> None:
    with capture(llm, lambda _step: True) as traces:
        inner = finished(LlamaCpp(llm).generate([Request.raw("a dog", max_tokens=6)]))
    assert len(traces[0]) == 1
    assert inner.text == traces[0].text


def test_a_guarded_answer_may_outlive_a_capture(llm: Llama) -> None:
    before = set(vars(llm))
    with capture(llm) as traces:
        events = LlamaCpp(llm).generate([Request.raw("a dog", max_tokens=6)])
        next(events)
    assert lock_of(llm).locked, "the answer still uses the engine"
    assert len(finished(events)) == 6
    assert set(vars(llm)) == before
    assert traces == []


def test_an_exception_is_not_hidden_by_a_generator_left_open(tiny_path: Path) -> None:
    llm = open_tiny(tiny_path)
    with pytest.raises(ZeroDivisionError), capture(llm):
        events = LlamaCpp(llm).generate([Request.raw("a dog", max_tokens=6)])
        next(events)
        raise ZeroDivisionError


def test_of_overlapping_stop_strings_the_earliest_cuts(llm: Llama) -> None:
    """The engine's wrapper cuts at the first of the list; then its text can hold a stop string."""
    whole = complete(llm)
    stops = [whole[2], whole[1:3]]
    with capture(llm) as traces:
        complete(llm, stop=stops)
    assert traces[0].text == whole[0]
