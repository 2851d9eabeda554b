"""Rows that are reduced while the engine decodes the next token: the same numbers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_cpp import Llama

from energy_guard import capture
from energy_guard.backends.behind import Behind, has_idle_cores
from energy_guard.backends.llama_cpp import LlamaCpp, tap
from energy_guard.energy import RowReducer
from energy_guard.errors import RowError
from energy_guard.request import Finished, Request
from energy_guard.trace import SIGNALS, Trace

REQUEST = Request.raw("the cat", max_tokens=12)


@pytest.fixture
def llm(tiny_path: Path) -> Iterator[Llama]:
    loaded = Llama(str(tiny_path), verbose=False, n_ctx=512, n_threads=1, n_threads_batch=1)
    yield loaded
    assert not [t for t in threading.enumerate() if t.name == "energy-guard-rows"]
    loaded.close()


def answer(llm: Llama, *, steps: bool) -> Trace:
    llm.reset()
    with LlamaCpp(llm).session() as session:
        [*_, last] = session.generate([REQUEST], steps=steps)
    assert isinstance(last, Finished)
    return last.trace


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
    row_in_place, seen = tap.current_row, []

    def broken(engine: Llama, at: int = -1) -> Any:
        seen.append(at)
        row = row_in_place(engine, at)
        return np.full_like(row, np.nan) if len(seen) == 3 else row

    monkeypatch.setattr(tap, "current_row", broken)
    with pytest.raises(RowError):
        answer(llm, steps=False)
    assert len(seen) <= 4
    monkeypatch.undo()
    assert answer(llm, steps=False).ids.size == 12, "the engine is free, and goes on"


def test_a_broken_row_ends_its_own_call_of_a_capture_alone(
    llm: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    row_in_place, seen = tap.current_row, []

    def broken(engine: Llama, at: int = -1) -> Any:
        seen.append(at)
        row = row_in_place(engine, at).copy()
        if len(seen) == 4:
            row[row.argmin()] = np.nan
        return row

    monkeypatch.setattr(tap, "current_row", broken)
    with capture(llm) as traces:
        with pytest.raises(RowError):
            llm("the cat", max_tokens=8, temperature=0)
        for _ in range(2):
            llm("the cat", max_tokens=8, temperature=0)
    assert [len(trace) for trace in traces] == [3, 8, 8]
    assert np.isfinite(traces[0].nll).all()


def test_a_row_may_be_overwritten_as_soon_as_it_was_started() -> None:
    row = np.arange(8, dtype=np.float32)
    expected = [RowReducer(8).reduce(row * factor) for factor in range(200)]
    behind, place = Behind(RowReducer(8).reduce), np.empty(8, np.float32)
    with behind.running():
        late = []
        for factor in range(200):
            np.multiply(row, factor, out=place)
            late.append(behind.start(place))
            place[:] = np.nan
        assert [each.now() for each in late] == expected


def test_what_is_wrong_with_a_row_is_told_to_whoever_asks_for_it() -> None:
    behind = Behind(RowReducer(4).reduce)
    with behind.running():
        late = behind.start(np.full(4, np.nan, np.float32))
        for _ in range(2):
            with pytest.raises(RowError):
                late.now()
        with pytest.raises(RowError):
            behind.start(np.zeros(4, np.float32))


def test_whoever_starts_beside_another_thread_leaves_no_row_that_nobody_reduces() -> None:
    behind = Behind(RowReducer(4).reduce)
    row = np.zeros(4, np.float32)
    with behind.running():
        late: list[Any] = []
        threads = [
            threading.Thread(target=lambda: late.extend(behind.start(row) for _ in range(200)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert len({each.now() for each in late}) == 1
    assert len(late) == 400


def test_a_row_is_waited_for_if_all_cores_decode() -> None:
    assert has_idle_cores(0)
    assert not has_idle_cores(10_000)
