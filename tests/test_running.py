from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_gguf import write_tiny_gguf

from energy_guard import Guard, Policy, load
from energy_guard.backends import Script, Scripted
from energy_guard.backends.locks import lock_of
from energy_guard.events import Done, Retracted, Text
from energy_guard.policy import EarlyStop
from energy_guard.request import Event, Request, Token

SURE = [("Par", 0.97), ("is", 0.99)]
LOST = [("a", 0.9), ("b", 0.2), ("c", 0.1), ("d", 0.2), ("e", 0.1), ("f", 0.1)]
SPIKE = [("a", 0.9), ("b", 0.001), ("c", 0.9), ("d", 0.9), ("e", 0.9), ("f", 0.9)]
QUESTION = "What is the capital of France?"


def policy(window: int, risk: float, **changes: Any) -> Policy:
    rule = EarlyStop(window=window, risk=risk)
    settings = {"detector": "nll:max", "warn": 90.0, "abstain": 99.0, "early_stop": rule}
    return Policy(**settings | changes)


def test_a_risky_answer_is_stopped_and_withheld_with_the_reason() -> None:
    result = Guard(Scripted.saying(LOST), policy(2, 1.5)).ask(QUESTION, max_tokens=50)
    assert (result.verdict, result.shown, result.trace.finish_reason) == (
        "abstain",
        False,
        "stopped",
    )
    assert len(result.trace) < len(LOST)
    assert result.score is None
    assert "stopped early" in result.reason and "last 2 tokens" in result.reason
    assert "nll" in result.reason and "1.5" in result.reason
    assert result.kept.stopped == result.reason
    saved = 50 - len(result.trace)
    assert result.kept.tokens_saved == result.to_dict()["tokens_saved"] == saved


def test_one_spike_does_not_stop_an_answer() -> None:
    result = Guard(Scripted.saying(SPIKE), policy(4, 3.0)).ask(QUESTION)
    assert (result.verdict, result.answer, result.kept.stopped) == ("accept", "abcdef", None)
    assert result.kept.tokens_saved == 0


FAMILIES = {
    "tag": ["<think>", "Lyon", "?", "</think>", "Paris"],
    "another tag": ["<seed:think>", "Lyon", "?", "</seed:think>", "Paris"],
    "mark in pieces": ["<", "thi", "nk>", "Lyon", "?", "</", "think", ">", "Paris"],
    "box": ["[THINK]", "Lyon", "?", "[/THINK]", "Paris"],
    "kimi": ["◁think▷", "Lyon", "?", "◁/think▷", "Paris"],
    "bars": ["<|START_THINKING|>", "Lyon", "?", "<|END_THINKING|>", "Paris"],
    "channels": [
        "<|channel|>",
        "analysis",
        "<|message|>",
        "Lyon",
        "?",
        "<|channel|>final",
        "Paris",
    ],
    "channel": ["<|channel>thought", "\n", "Lyon", "?", "<channel|>", "Paris"],
    "channels as text": ["analysis", "Lyon", "?", "assistant", "final", "Paris"],
}


@pytest.mark.parametrize("pieces", FAMILIES.values(), ids=FAMILIES)
def test_reasoning_in_the_marks_of_any_family_stops_nothing(pieces: list[str]) -> None:
    answer = [(piece, 0.01 if piece in ("Lyon", "?") else 0.97) for piece in pieces]
    result = Guard(Scripted.saying(answer), policy(2, 3.0)).ask(QUESTION)
    assert (result.trace.finish_reason, result.text) == ("eos", "Paris")


@pytest.mark.parametrize("pieces", FAMILIES.values(), ids=FAMILIES)
def test_what_stands_behind_reasoning_is_watched_again(pieces: list[str]) -> None:
    behind = [(", ", 0.9), ("Lyon", 0.01), (" or", 0.01), (" not", 0.9), (" so", 0.9)]
    answer = [*((piece, 0.97) for piece in pieces), *behind]
    result = Guard(Scripted.saying(answer), policy(2, 3.0)).ask(QUESTION)
    assert (result.verdict, result.trace.finish_reason) == ("abstain", "stopped")


def test_risks_before_the_end_of_reasoning_that_had_no_beginning_do_not_count() -> None:
    answer = [("Lyon", 0.97), ("?", 0.01), ("</think>", 0.97), ("Pa", 0.01), ("ris", 0.97)]
    result = Guard(Scripted.saying(answer), policy(2, 4.0)).ask(QUESTION)
    assert result.trace.finish_reason == "eos"


def test_a_long_answer_is_watched_to_its_end() -> None:
    answer = [(" word", 0.97)] * 300 + [("x", 0.01), ("y", 0.01), ("z", 0.9), ("z", 0.9)]
    result = Guard(Scripted.saying(answer), policy(2, 3.0)).ask(QUESTION, max_tokens=400)
    assert result.trace.finish_reason == "stopped"


def test_a_window_that_is_not_full_stops_nothing() -> None:
    answer = [("x", 0.01)] * 3
    result = Guard(Scripted.saying(answer), policy(5, 0.1)).ask(QUESTION)
    assert (result.trace.finish_reason, result.kept.stopped) == ("eos", None)


def test_a_mean_at_the_limit_stops_and_one_below_does_not() -> None:
    rising = LOST[:3] + [("g", 0.99)] * 4
    free = Guard(Scripted.saying(rising)).ask(QUESTION).trace
    limit = sum(free.nll[:3].tolist()) / 3
    at = Guard(Scripted.saying(rising), policy(3, limit)).ask(QUESTION)
    above = float(np.nextafter(limit, np.inf))
    below = Guard(Scripted.saying(rising), policy(3, above)).ask(QUESTION)
    assert at.trace.finish_reason == "stopped"
    assert below.trace.finish_reason == "eos"


@pytest.mark.parametrize("max_tokens", [3, 50])
def test_an_answer_that_was_complete_anyway_was_not_stopped(max_tokens: int) -> None:
    """The rule fires with the row after the last word: the end token is there already."""
    answer = [("a", 0.9), ("b", 0.1), ("c", 0.1)]
    result = Guard(Scripted.saying(answer), policy(2, 2.0)).ask(QUESTION, max_tokens=max_tokens)
    assert result.trace.finish_reason in ("eos", "length")
    assert result.answer == "abc"
    assert (result.kept.stopped, result.to_dict()["tokens_saved"]) == (None, 0)


def test_ask_and_stream_stop_alike() -> None:
    backend = Scripted.saying(LOST, LOST, SURE)
    guard = Guard(backend, policy(2, 1.5))
    asked = guard.ask(QUESTION)
    *events, done = guard.stream(QUESTION)
    assert isinstance(done, Done)
    assert done.result.to_dict() == asked.to_dict()
    assert "".join(e.text for e in events if isinstance(e, Text)) == asked.answer
    assert isinstance(events[-1], Retracted)
    assert not lock_of(backend).locked
    assert guard.ask(QUESTION).verdict == "accept"


class Counted(Scripted):
    """Counts the tokens that it has written."""

    written = 0

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        for event in super()._play(number, request, script):
            self.written += isinstance(event, Token)
            yield event


@pytest.mark.parametrize(
    ("pieces", "detector", "stop", "at_once"),
    [
        (["Par", "is"], "nll:max", (), True),
        (["e", "\u0301t\u00e9"], "nll:max", (), True),  # a mark on the letter that is told
        (["Par", "is"], "spilled_energy:max", (), False),  # the risk goes by the next row
        (["Par", "is"], "nll:max", ("rise",), False),  # "r" may begin it
        (["\u00e9t", "\u00e9"], "nll:max", (), False),
    ],
)
def test_the_first_text_comes_at_once_if_it_is_plain_and_its_risk_is_known(
    pieces: list[str], detector: str, stop: tuple[str, ...], at_once: bool
) -> None:
    backend = Counted.saying([(piece, 0.9) for piece in pieces])
    texts, came = [], []
    guard = Guard(backend, Policy(detector=detector, warn=9.0))
    for event in guard.stream(QUESTION, stop=stop):
        if isinstance(event, Text):
            texts.append(event)
            came.append(backend.written)
    assert "".join(text.text for text in texts) == "".join(pieces)
    assert (came[0] == 1) == at_once
    assert all(text.risk is not None for text in texts)


def test_an_end_token_that_is_plain_text_is_no_text_of_the_answer() -> None:
    """As where the end is a newline."""
    rows = np.array([[0.0, 9.0], [9.0, 0.0]], np.float32)
    policy = Policy(detector="nll:max", warn=9.0, nothing_to_check="show", unscored="show")
    for ids, answer in ([1], ""), ([0, 1], "a"):
        backend = Scripted([b"a", b"\n"], [Script(tuple(ids), rows[[1 - i for i in ids]])], end=1)
        events = list(Guard(backend, policy).stream(QUESTION))
        assert "".join(event.text for event in events if isinstance(event, Text)) == answer
        assert [event.result.answer for event in events if isinstance(event, Done)] == [answer]


def test_a_stopped_answer_is_tried_again() -> None:
    guard = Guard(Scripted.saying(LOST, SURE), policy(2, 1.5, retries=1))
    result = guard.ask(QUESTION, max_tokens=50)
    assert (result.verdict, result.text, len(result.attempts)) == ("accept", "Paris", 2)
    stopped, kept = result.attempts
    assert (stopped.stopped is None, kept.stopped) == (False, None)
    assert result.to_dict()["tokens_saved"] == 50 - len(stopped.trace)


def test_each_attempt_has_a_window_of_its_own() -> None:
    half = [("a", 0.01), ("b", 0.01)]
    guard = Guard(Scripted.saying(half, half), policy(3, 4.0, abstain=3.0, warn=1.0, retries=1))
    assert [a.stopped for a in guard.ask(QUESTION).attempts] == [None, None]


def test_the_rule_goes_by_the_detectors_riskier_side() -> None:
    answer = [("a", 0.99)] * 6  # wide margins: nothing is wrong
    backend = Scripted.saying(answer, LOST)
    guard = Guard(backend, policy(2, -1.0, detector="margin:min"))
    assert guard.ask(QUESTION).trace.finish_reason == "eos"
    assert guard.ask(QUESTION).trace.finish_reason == "stopped"


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    path: Path = write_tiny_gguf(tmp_path_factory.mktemp("m") / "e.gguf", eos_bias=-50.0)
    backend = load(path, n_ctx=256, n_threads=1, n_threads_batch=1)
    yield backend
    backend.engine.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("detector", ["nll:max", "spilled_energy:max", "entropy:mean"])
def test_a_model_is_stopped_with_a_low_limit_and_usable_after(endless: Any, detector: str) -> None:
    before = set(vars(endless.engine))
    endless.engine.reset()
    whole = Guard(endless).ask("the cat", max_tokens=20).trace
    endless.engine.reset()
    result = Guard(endless, policy(4, -1e6, detector=detector)).ask("the cat", max_tokens=20)
    assert (result.verdict, result.trace.finish_reason) == ("abstain", "stopped")
    assert 4 <= len(result.trace) <= 6
    assert result.trace.ids.tolist() == whole.ids[: len(result.trace)].tolist()
    assert result.kept.tokens_saved == 20 - len(result.trace)
    endless.engine.reset()
    again = Guard(endless).ask("the cat", max_tokens=20).trace
    assert again.nll.tolist() == whole.nll.tolist()
    assert set(vars(endless.engine)) == before
