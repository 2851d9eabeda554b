"""One model object in several threads: each is read by itself, and nobody's call is disturbed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from backend_contract import finished, in_thread
from tiny_models import tiny_model
from torch_reference import LONGER, SHORT, TOKENIZER, assert_teacher_forced, written

from energy_guard import Trace, capture
from energy_guard.backends.attributes import standing_in
from energy_guard.backends.transformers import Transformers
from energy_guard.backends.transformers.prefill import PromptInterruptedError, interruptible
from energy_guard.request import Request

PATIENCE_S = 30


@pytest.fixture
def model() -> Iterator[Any]:
    """After the test it must be as it was."""
    loaded = tiny_model()
    before = dict(vars(loaded))
    yield loaded
    assert dict(vars(loaded)) == before


class Meeting:
    """A logits processor at which two threads wait for each other before every token.

    So both rows have been seen before either token is chosen.
    """

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2)
        self.begun = threading.Event()

    def __call__(self, _ids: Any, scores: Any) -> Any:
        self.begun.set()
        self.barrier.wait(PATIENCE_S)
        return scores


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each returns, in a thread of its own."""
    results: dict[int, Any] = {}

    def keep(i: int) -> None:
        results[i] = calls[i]()

    threads = [threading.Thread(target=keep, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return [results[i] for i in range(len(calls))]


def test_calls_of_two_threads_inside_one_capture_have_traces_of_their_own(model: Any) -> None:
    prompts = (SHORT, LONGER)
    plain = [written(model, [prompt]).tolist() for prompt in prompts]
    meet = Meeting()
    with capture((model, TOKENIZER)) as traces:
        outs = at_once(*(lambda p=p: written(model, [p], logits_processor=[meet]) for p in prompts))
    assert [out.tolist() for out in outs] == plain
    assert len(traces) == 2
    for prompt, out in zip(prompts, outs, strict=True):
        (trace,) = (t for t in traces if t.prompt_tokens == len(prompt))
        assert trace.ids.tolist() == out[0, len(prompt) :].tolist()
        assert_teacher_forced(model, prompt, trace)


def streamed(backend: Transformers, request: Request) -> Trace:
    return finished(backend.generate([request]))


def whole(backend: Transformers, request: Request) -> Trace:
    with backend.session() as session:
        return finished(session.generate([request], steps=False))


@pytest.mark.parametrize("ask", [streamed, whole])
def test_a_thread_of_the_users_beside_a_guarded_answer(
    model: Any, ask: Callable[[Transformers, Request], Trace]
) -> None:
    """The one that generates is a worker where the answer is streamed, else the one that asks."""
    model.generation_config.repetition_penalty = 1.4
    plain = written(model, [LONGER], max_new_tokens=9)
    meet = Meeting()
    backend = Transformers(model, TOKENIZER, generation={"logits_processor": [meet]})
    request = Request.raw("the cat", max_tokens=9)

    def users() -> Any:
        assert meet.begun.wait(PATIENCE_S)
        return written(model, [LONGER], max_new_tokens=9, logits_processor=[meet])

    trace, out = at_once(lambda: ask(backend, request), users)
    assert out.tolist() == plain.tolist(), "with the model's own settings, not the guard's"
    assert trace.ids.tolist() == ask(Transformers(model, TOKENIZER), request).ids.tolist()
    assert_teacher_forced(model, TOKENIZER("the cat").input_ids, trace)


def test_a_call_that_is_replayed_hides_no_other_threads_call(model: Any) -> None:
    begun, other_has_ended = threading.Event(), threading.Event()

    def until_the_other_has_ended(_ids: Any, scores: Any) -> Any:
        begun.set()
        assert other_has_ended.wait(PATIENCE_S)
        return scores

    def beams() -> None:
        written(model, [SHORT], num_beams=2, logits_processor=[until_the_other_has_ended])

    def greedy() -> None:
        assert begun.wait(PATIENCE_S)
        written(model, [LONGER])
        other_has_ended.set()

    with capture((model, TOKENIZER)) as traces:
        at_once(beams, greedy)
    for prompt, trace in zip((LONGER, SHORT), traces, strict=True):
        assert_teacher_forced(model, prompt, trace)


def test_an_interrupted_prompt_interrupts_nobody_else(model: Any) -> None:
    ids = torch.tensor([SHORT])
    with interruptible(model, lambda: True):
        assert in_thread(lambda: model(ids)) is None
        with pytest.raises(PromptInterruptedError):
            model(ids)


class Engine:
    def name(self, suffix: str = "") -> str:
        return "own" + suffix


@pytest.mark.parametrize("users", [False, True])
def test_stand_ins_of_threads_come_and_go_in_any_order(users: bool) -> None:
    """The first thread goes before the second one, which came later."""
    engine = Engine()
    if users:
        engine.name = lambda suffix="": "own" + suffix  # type: ignore[method-assign]
    before = dict(vars(engine))
    turns = threading.Barrier(2)
    heard: list[str] = []

    def first() -> None:
        with standing_in(engine, "name", lambda own, *args: "first of " + own(*args)):
            turns.wait(PATIENCE_S)
            turns.wait(PATIENCE_S)
            heard.append(engine.name("!"))
        turns.wait(PATIENCE_S)

    def second() -> None:
        turns.wait(PATIENCE_S)
        with standing_in(engine, "name", lambda own: "second of " + own()):
            with standing_in(engine, "name", lambda own: "inner " + own()):
                turns.wait(PATIENCE_S)
                turns.wait(PATIENCE_S)
                heard.append(engine.name())
            heard.append(engine.name())

    at_once(first, second, lambda: heard.append(engine.name(" of a third")))
    assert sorted(heard) == sorted(
        ["own of a third", "first of own!", "inner second of own", "second of own"]
    )
    assert vars(engine) == before
