"""Ctrl-C while llama.cpp works arrives as what it is, and leaves an engine that works."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from energy_guard import Guard, load
from energy_guard.backends.llama_cpp import evaluate
from energy_guard.backends.llama_cpp.interrupts import held_back
from energy_guard.backends.locks import lock_of
from energy_guard.request import Request

LONG = Request.raw("the cat sat " * 30, max_tokens=3)


@pytest.fixture
def guard(tiny_path: Path) -> Guard:
    return Guard(load(tiny_path, n_ctx=512, n_threads=1))


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Sends the signal from inside the callback that asks whether to go on."""
    real = evaluate.held_back
    sent: list[int] = []

    def hears() -> Any:
        held = real()

        class Sending:
            def __enter__(self) -> Callable[[], bool]:
                inner = held.__enter__()

                def ask() -> bool:
                    if not sent:
                        sent.append(1)
                        os.kill(os.getpid(), signal.SIGINT)
                    return inner()

                return ask

            def __exit__(self, *error: Any) -> Any:
                return held.__exit__(*error)

        return Sending()

    yield lambda: monkeypatch.setattr(evaluate, "held_back", hears)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def next_row(guard: Guard) -> None:
    with guard.backend.session() as session:
        session.next_row(LONG)


def shared_beginning(guard: Guard) -> None:
    list(guard.ask_many([LONG], sharing=[LONG]))


WAYS: dict[str, Callable[[Guard], object]] = {
    "ask": lambda guard: guard.ask(LONG),
    "score": lambda guard: guard.score(LONG, "cat"),
    "next row": next_row,
    "shared beginning": shared_beginning,
}


@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_while_a_prompt_is_read_arrives(
    guard: Guard, ctrl_c: Callable[[], None], way: str
) -> None:
    before = guard.ask(LONG).trace.ids.tolist()
    guard.ask(Request.raw("other", max_tokens=1))
    ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        WAYS[way](guard)
    assert not lock_of(guard.backend.engine).locked  # type: ignore[attr-defined]

    assert guard.ask(LONG).trace.ids.tolist() == before


def test_a_handler_of_the_programs_own_is_called_at_once_and_ends_nothing() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: heard.append(number))
    try:
        with held_back() as waiting:
            os.kill(os.getpid(), signal.SIGINT)
            assert heard == [signal.SIGINT]
            assert not waiting()
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_the_block_is_raised_at_its_end() -> None:
    done = False
    with pytest.raises(KeyboardInterrupt), held_back() as waiting:
        os.kill(os.getpid(), signal.SIGINT)
        assert waiting()
        done = True
    assert done
