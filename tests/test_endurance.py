from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from energy_guard import Guard, Policy, Request, Sampling, Trace, capture, load
from energy_guard.backends.locks import lock_of
from energy_guard.events import Text
from energy_guard.policy import EarlyStop
from energy_guard.request import CancelToken

ROUNDS = 1000
STATM = Path("/proc/self/statm")
Asked = list[tuple[Request, Trace]]


def resident_mib() -> float:
    gc.collect()
    return int(STATM.read_text().split()[1]) * 4096 / 2**20


def request(number: int, **options: Any) -> Request:
    """A question that no other number has, answered by chance and repeatably."""
    sampling = Sampling(temperature=1.0, seed=number)
    return Request.raw(f"the cat {number} ", max_tokens=8, sampling=sampling, **options)


def limits(**changes: Any) -> Policy:
    return Policy(**{"detector": "nll:max", "warn": 1.0, "abstain": 99.0} | changes)


def plain(backend: Any, number: int) -> Asked:
    asked = request(number)
    return [(asked, Guard(backend).ask(asked).trace)]


def retried(backend: Any, number: int) -> Asked:
    asked = request(number)
    policy = limits(warn=-2.0, abstain=-1.0, retries=2)
    attempts = Guard(backend, policy).ask(asked).attempts
    assert len(attempts) == 3
    return [(asked, attempt.trace) for attempt in attempts]


def stopped(backend: Any, number: int) -> Asked:
    asked = request(number)
    rule = EarlyStop(window=2, risk=-1.0)
    return [(asked, Guard(backend, limits(early_stop=rule)).ask(asked).trace)]


def dropped(backend: Any, number: int) -> Asked:
    stream = Guard(backend).stream(request(number))
    for event in stream:
        if isinstance(event, Text):
            break
    del stream
    return []


def raising(backend: Any, number: int) -> Asked:
    with pytest.raises(ZeroDivisionError):
        for event in Guard(backend).stream(request(number)):
            if isinstance(event, Text):
                raise ZeroDivisionError
        raise ZeroDivisionError  # the end token came at once
    return []


def captured(backend: Any, number: int) -> Asked:
    asked = request(number)
    with capture(backend.engine) as traces:
        backend.engine(asked.text, max_tokens=8, temperature=1.0, seed=number)
    [trace] = traces
    return [(asked, trace)]


def guarded_inside_a_capture(backend: Any, number: int) -> Asked:
    asked = request(number)
    with capture(backend.engine) as traces:
        live = Guard(backend).ask(asked).trace
    assert [trace.ids.tolist() for trace in traces] == [live.ids.tolist()]
    return [(asked, live)]


def cancelled(backend: Any, number: int) -> Asked:
    cancel = CancelToken()
    cancel.cancel()
    assert len(Guard(backend).ask(request(number, cancel=cancel)).trace) == 0
    return []


def scored(backend: Any, number: int) -> Asked:
    asked = request(number)
    return [(asked, Guard(backend).score(asked, f"mat {number}", fast=number % 2 == 0).trace)]


KINDS: list[Callable[[Any, int], Asked]] = [
    plain,
    retried,
    stopped,
    dropped,
    raising,
    captured,
    guarded_inside_a_capture,
    cancelled,
    scored,
]


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="memory is read from /proc")
def test_a_thousand_questions_leave_nothing_behind_and_mix_nothing_up(tiny_path: Path) -> None:
    options = {"n_ctx": 128, "n_threads": 1, "n_threads_batch": 1, "type_k": 0, "type_v": 0}
    backend: Any = load(tiny_path, **options)
    before = set(vars(backend.engine))
    sample: Asked = []
    early = 0.0
    for number in range(ROUNDS):
        asked = KINDS[number % len(KINDS)](backend, number)
        assert not lock_of(backend.engine).locked
        assert set(vars(backend.engine)) == before
        if number % 97 < len(KINDS):
            sample += asked
        if number == 100:
            early = resident_mib()
    growth = resident_mib() - early
    print(f"{early:.1f} MiB after 100, {growth:+.2f} MiB after {ROUNDS}; {len(sample)} traces")
    assert growth < 4, f"{growth:.1f} MiB more than after 100"
    assert len(sample) > 50
    for request_, trace in sample:
        again = Guard(backend).score(request_, trace.ids.tolist()).trace
        np.testing.assert_allclose(again.nll, trace.nll, rtol=0, atol=1e-3)
        np.testing.assert_allclose(again.token_logit, trace.token_logit, rtol=0, atol=1e-3)
    mixed, (_, other) = sample[0][0], sample[1]
    wrong = Guard(backend).score(mixed, other.ids.tolist()).trace
    assert np.max(np.abs(wrong.nll - other.nll)) > 1e-2, "another question would be noticed"
    backend.engine.close()
