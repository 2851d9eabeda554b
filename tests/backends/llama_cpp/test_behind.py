"""Rows that are reduced while the engine decodes the next token: the same numbers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_cpp import Llama, StoppingCriteriaList

from energy_guard import capture
from energy_guard.backends.behind import Behind, has_idle_cores
from energy_guard.backends.llama_cpp import LlamaCpp, tap
from energy_guard.energy import RowReducer
from energy_guard.errors import RowError
from energy_guard.request import CancelToken, Finished, Request
from energy_guard.trace import SIGNALS, Step, StepHook, Trace

REQUEST = Request.raw("the cat", max_tokens=12)


@pytest.fixture
def llm(tiny_path: Path) -> Iterator[Llama]:
    loaded = Llama(str(tiny_path), verbose=False, n_ctx=512, n_threads=1, n_threads_batch=1)
    yield loaded
    assert not [t for t in threading.enumerate() if t.name == "energy-guard-rows"]
    loaded.close()


def answer(llm: Llama, *, steps: bool, of: Request = REQUEST) -> Trace:
    llm.reset()
    with LlamaCpp(llm).session() as session:
        [*_, last] = session.generate([of], steps=steps)
    assert isinstance(last, Finished)
    return last.trace


def break_row(monkeypatch: pytest.MonkeyPatch, which: int) -> list[int]:
    """Break one of the rows that are seen from now on, and return where each lay."""
    row_in_place, seen = tap.current_row, list[int]()

    def broken(engine: Llama, at: int = -1) -> Any:
        seen.append(at)
        row = row_in_place(engine, at).copy()
        if len(seen) == which:
            row[row.argmin()] = np.nan
        return row

    monkeypatch.setattr(tap, "current_row", broken)
    return seen


def test_the_numbers_are_those_of_rows_that_were_waited_for_to_the_bit(llm: Llama) -> None:
    waited, behind = answer(llm, steps=True), answer(llm, steps=False)
    llm.reset()
    with capture(llm) as traces:
        llm("the cat", max_tokens=12, temperature=0)
    for name in SIGNALS:
        np.testing.assert_array_equal(getattr(waited, name), getattr(behind, name))
        np.testing.assert_array_equal(getattr(waited, name), getattr(traces[0], name))


def test_a_broken_row_is_an_error_one_token_later(
    llm: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = break_row(monkeypatch, 3)
    with pytest.raises(RowError):
        answer(llm, steps=False)
    assert len(seen) <= 4
    monkeypatch.undo()
    assert answer(llm, steps=False).ids.size == 12, "the engine is free, and goes on"


def test_a_broken_row_ends_its_own_call_of_a_capture_alone(
    llm: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_row(monkeypatch, 4)
    with capture(llm) as traces:
        with pytest.raises(RowError):
            llm("the cat", max_tokens=8, temperature=0)
        for _ in range(2):
            llm("the cat", max_tokens=8, temperature=0)
    assert [len(trace) for trace in traces] == [3, 8, 8]
    assert np.isfinite(traces[0].nll).all()


def test_a_stop_string_ends_an_answer_behind_where_it_does_otherwise(llm: Llama) -> None:
    pieces = {piece.decode("utf-8", "replace") for piece in answer(llm, steps=True).pieces}
    assert len(pieces) > 3
    for piece in pieces - {""}:
        request = Request.raw("the cat", max_tokens=12, stop=(piece,))
        waited, behind = answer(llm, steps=True, of=request), answer(llm, steps=False, of=request)
        assert behind.finish_reason == waited.finish_reason == "stop"
        assert behind.text == waited.text
        for name in SIGNALS:
            np.testing.assert_array_equal(getattr(waited, name), getattr(behind, name))
        assert np.isfinite(behind.spilled_energy).all(), "the row after the last token, too"


def test_an_answer_that_is_cancelled_behind_has_all_the_tokens_that_were_written(
    llm: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, whole, seen = CancelToken(), answer(llm, steps=True), []
    row_in_place = tap.current_row

    def cancelling(engine: Llama, at: int = -1) -> Any:
        seen.append(at)
        if len(seen) == 5:
            cancel.cancel()
        return row_in_place(engine, at)

    monkeypatch.setattr(tap, "current_row", cancelling)
    request = Request.raw("the cat", max_tokens=12, cancel=cancel)
    trace = answer(llm, steps=False, of=request)
    assert trace.finish_reason == "cancelled"
    assert trace.ids.tolist() == whole.ids[:5].tolist()
    assert trace.text == b"".join(whole.pieces[:5]).decode()


def test_work_is_done_in_order_and_once_whoever_does_it() -> None:
    behind, done = Behind(), []
    with behind.running():
        for number in range(300):
            behind.owe(partial(done.append, number))
            assert len(done) == number, "not before the engine decodes"
            if number % 3:
                behind.begin()
            if number % 50 == 1:
                time.sleep(0.01)
                assert len(done) == number + 1, "by the other thread"
        behind.settle()
    assert done == [*range(300)]


def test_what_is_collected_in_the_middle_of_work_may_settle() -> None:
    behind, done = Behind(), []
    with behind.running():

        def work() -> None:
            behind.settle()  # as a stream does that nobody holds any longer
            done.append(threading.current_thread().name)

        behind.owe(work)
        behind.settle()
        behind.owe(work)
        behind.begin()
        time.sleep(0.01)
    assert done == ["MainThread", "energy-guard-rows"]


def test_a_block_may_end_on_its_own_thread() -> None:
    behind, ended = Behind(), threading.Event()
    running = behind.running()
    running.__enter__()

    def work() -> None:
        running.__exit__(None, None, None)
        ended.set()

    behind.owe(work)
    behind.begin()
    assert ended.wait(5)


def test_whoever_works_beside_another_thread_leaves_nothing_that_nobody_does() -> None:
    behind, done = Behind(), []
    with behind.running():

        def work() -> None:
            for _ in range(200):
                behind.owe(partial(done.append, threading.get_ident()))
                behind.begin()

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        behind.settle()
    assert len(done) == 400


def test_a_stop_string_in_an_answer_within_a_capture_is_no_token_more_for_that(llm: Llama) -> None:
    stop = answer(llm, steps=True).pieces[4].decode("utf-8", "replace")
    request = Request.raw("the cat", max_tokens=12, stop=(stop,))
    heard: list[Step] = []
    for hook in (None, heard.append):
        with capture(llm, hook) as traces:
            inner = answer(llm, steps=False, of=request)
        assert traces[0].ids.tolist() == inner.ids.tolist()
        np.testing.assert_array_equal(traces[0].nll, inner.nll)
    assert len(heard) == len(inner.ids)


def test_a_hook_that_uses_the_engine_does_not_change_the_numbers_of_its_token(llm: Llama) -> None:
    expected = answer(llm, steps=True)

    def meddle(step: Step) -> bool:
        if step.id != expected.ids[3]:
            return False
        llm.eval([5, 6, 7])
        return True

    with capture(llm, meddle), LlamaCpp(llm).session() as session:
        llm.reset()
        [*_, last] = session.generate([REQUEST])
    assert isinstance(last, Finished)
    np.testing.assert_array_equal(last.trace.nll, expected.nll[: len(last.trace)])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # llm() closes so
@pytest.mark.parametrize("hook", [None, lambda _: None])
@pytest.mark.parametrize("ending", ["stopping_criteria", "max_tokens"])
def test_a_broken_row_after_the_last_token_takes_nothing_from_the_trace(
    llm: Llama, monkeypatch: pytest.MonkeyPatch, hook: StepHook | None, ending: str
) -> None:
    break_row(monkeypatch, 5)
    prompt = llm.tokenize(b"the cat")
    stop = StoppingCriteriaList([lambda ids, _: len(ids) >= len(prompt) + 5])
    with capture(llm, hook) as traces:
        if ending == "max_tokens":
            llm("the cat", max_tokens=4, temperature=0)
        else:
            with pytest.raises(RowError):
                list(llm.generate(prompt, temp=0.0, stopping_criteria=stop))
    assert [len(trace) for trace in traces] == [4]
    assert np.isfinite(traces[0].nll).all()


@pytest.mark.parametrize("at", [2, 6])
def test_an_interrupt_in_the_middle_of_a_row_leaves_no_wrong_number(
    llm: Llama, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    expected, reduce, seen = answer(llm, steps=True), RowReducer.reduce, []

    def interrupted(self: RowReducer, row: Any) -> Any:
        seen.append(threading.current_thread() is threading.main_thread())
        if len(seen) == at:
            raise KeyboardInterrupt
        return reduce(self, row)

    llm.reset()
    monkeypatch.setattr(RowReducer, "reduce", interrupted)
    monkeypatch.setattr(Behind, "begin", lambda _: None)  # so that the main thread does it all
    with capture(llm) as traces, pytest.raises(KeyboardInterrupt):
        list(islice(llm.generate(llm.tokenize(b"the cat"), temp=0.0), 12))
    assert all(seen)
    (trace,) = traces
    assert len(trace) == at - 1
    known = expected.marginal_energy[: len(trace)]
    found = trace.marginal_energy
    np.testing.assert_array_equal(found[:-1], known[:-1])
    assert np.isnan(found[-1]) or abs(found[-1] - known[-1]) < 1e-4


def test_nothing_looks_for_work_while_nothing_is_written(llm: Llama) -> None:
    def looking() -> int:
        return sum(thread.name == "energy-guard-rows" for thread in threading.enumerate())

    with capture(llm):
        assert looking() == 0
        stream = llm.generate(llm.tokenize(b"the cat"), temp=0.0)
        next(stream)
        assert looking() == 1
    deadline = time.monotonic() + 5
    while looking() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert looking() == 0, "though nobody has closed the stream"
    stream.close()


def test_a_broken_row_of_a_stream_that_was_left_is_no_error_of_the_next_call(
    llm: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_row(monkeypatch, 2)
    with capture(llm) as traces:
        left = llm.generate(llm.tokenize(b"the cat"), temp=0.0)
        next(left)
        next(left)
        llm("a dog", max_tokens=4, temperature=0)
        assert [len(trace) for trace in traces] == [4]
        with pytest.raises(RowError):
            left.close()
    assert [len(trace) for trace in traces] == [4, 1]


def test_a_row_is_waited_for_if_all_cores_decode() -> None:
    assert has_idle_cores(0)
    assert not has_idle_cores(10_000)
