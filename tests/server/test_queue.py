"""Many clients and one engine: first come, first served, and free when a client goes away."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import LAX, Served, eventually, served

from energy_guard import Guard, Policy, Request
from energy_guard.backends import Scripted
from energy_guard.backends.scripted import Script
from energy_guard.errors import EnergyGuardError, EngineBusyError
from energy_guard.request import Event, Token
from energy_guard.server.errors import ApiError
from energy_guard.server.waiting import WaitingLine

STRICT = Policy(detector="nll:max", warn=5.0, abstain=9.0)
LONG = [(f"w{i} ", 0.99) for i in range(200)]
SHORT = [("Yes", 0.99)]


class Slow(Scripted):
    """Takes a hundredth of a second for a token, and counts those that it wrote."""

    written = 0

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        for event in super()._play(number, request, script):
            if isinstance(event, Token):
                time.sleep(0.01)
                self.written += 1
            yield event


def slow(*scripts: list[tuple[str, float]], **settings: Any) -> Any:
    return served(Guard(Slow.saying(*scripts), LAX), **settings)


def in_work(server: Served) -> bool:
    return bool(server.service.line._served)


def test_requests_are_answered_in_the_order_in_which_they_came() -> None:
    ends: list[int] = []

    def ask(server: Served, number: int) -> httpx.Response:
        response = server.chat()
        ends.append(number)
        return response

    with slow(LONG[:40], SHORT, SHORT) as server, ThreadPoolExecutor(3) as pool:
        futures = []
        for number in range(3):
            futures.append(pool.submit(ask, server, number))
            assert eventually(lambda n=number: len(server.service.line) == n and in_work(server))
        positions = [f.result().headers["x-energy-guard-queue-position"] for f in futures]
    assert positions == ["0", "1", "2"]
    assert ends == [0, 1, 2]


def test_beyond_the_limit_a_request_is_told_to_come_again() -> None:
    with slow(LONG[:60], SHORT, max_waiting=1) as server, ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.chat)
        assert eventually(lambda: in_work(server))
        second = pool.submit(server.chat)
        assert eventually(lambda: len(server.service.line) == 1)
        third = server.chat(stream=True)
        assert (third.status_code, third.json()["error"]["code"]) == (429, "queue_full")
        assert int(third.headers["retry-after"]) >= 1
        assert [f.result().status_code for f in (first, second)] == [200, 200]


@pytest.mark.parametrize("stream", [False, True])
def test_the_engine_is_free_soon_after_a_client_has_gone(stream: bool) -> None:
    with slow(LONG, SHORT) as server:
        backend: Any = server.service.guard.backend
        with pytest.raises(httpx.ReadTimeout):
            body = {"messages": [{"role": "user", "content": "?"}], "stream": stream}
            body["energy_guard"] = {"stream": "hold"}
            server.http.post("/v1/chat/completions", json=body, timeout=0.3)
        assert eventually(lambda: not in_work(server), within_s=1.0)
        written = backend.written
        assert written < 100
        assert server.chat().json()["choices"][0]["message"]["content"] == "Yes"
        assert backend.written == written + 2


def test_a_client_that_leaves_a_live_stream_stops_the_engine() -> None:
    with slow(LONG, SHORT) as server:
        body = {"messages": [{"role": "user", "content": "?"}], "stream": True}
        body["energy_guard"] = {"stream": "live"}
        with server.http.stream("POST", "/v1/chat/completions", json=body) as response:
            assert "data" in next(response.iter_lines())
        assert eventually(lambda: not in_work(server), within_s=1.0)
        assert server.service.guard.backend.written < 100  # type: ignore[attr-defined]


def test_a_client_that_goes_while_it_waits_is_forgotten() -> None:
    with slow(LONG[:60], SHORT) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.chat)
        assert eventually(lambda: in_work(server))
        with pytest.raises(httpx.ReadTimeout):
            body = {"messages": [{"role": "user", "content": "?"}]}
            server.http.post("/v1/chat/completions", json=body, timeout=0.1)
        assert eventually(lambda: len(server.service.line) == 0, within_s=0.4)
        assert first.result().status_code == 200
        assert server.chat().json()["choices"][0]["message"]["content"] == "Yes"


def test_an_answer_that_its_deadline_cuts_off_is_withheld() -> None:
    with served(Guard(Slow.saying(LONG), STRICT), timeout_s=0.3) as server:
        told = server.chat().json()["energy_guard"]
    assert (told["finish_reason"], told["verdict"]) == ("deadline", "unscored")


def test_a_deadline_that_passes_while_the_engine_is_in_use_is_told() -> None:
    with slow(SHORT, timeout_s=0.2) as server, server.service.guard.backend.session():
        response = server.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (503, "busy")


def test_those_who_are_refused_come_back_one_after_the_other() -> None:
    async def scene() -> list[int]:
        line, told = WaitingLine(limit=1), []
        places = [line.join(), line.join()]
        for _ in range(125):
            with pytest.raises(ApiError) as full:
                line.join()
            told.append(int(full.value.headers["retry-after"]))
        for place in places:
            place.leave()
        return told

    told = asyncio.run(scene())
    assert told[:3] == [1, 2, 3], "an answer takes a second until one has been timed"
    assert set(told) == set(range(1, 61)), "no client waits longer than a minute"
    assert max(map(told.count, told)) <= 3


def test_a_line_serves_refuses_and_forgets() -> None:
    async def scene() -> None:
        line = WaitingLine(limit=2)
        first, second, third = line.join(), line.join(), line.join()
        with pytest.raises(ApiError) as full:
            line.join()
        assert full.value.status == 429
        await first.wait(time.monotonic() + 1)
        with pytest.raises(EngineBusyError):
            await second.wait(time.monotonic() + 0.01)
        second.leave()
        first.leave()
        await third.wait(time.monotonic() + 1)
        fourth = line.join()
        line.close()
        with pytest.raises(ApiError) as closed:
            await fourth.wait(time.monotonic() + 1)
        assert closed.value.status == 503
        with pytest.raises(EnergyGuardError):
            line.join()
        third.leave()
        assert len(line) == 0

    asyncio.run(scene())


def test_a_server_that_ends_refuses_who_waits_and_finishes_what_it_began() -> None:
    with slow(LONG[:60], SHORT) as server, ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.chat)
        assert eventually(lambda: in_work(server))
        second = pool.submit(server.chat)
        assert eventually(lambda: len(server.service.line) == 1)
        server.stop()
        assert second.result().status_code == 503
        assert first.result().status_code == 200


def test_an_answer_that_takes_too_long_is_cut_off_when_the_server_ends() -> None:
    with slow(LONG, drain_s=0.1) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.chat)
        assert eventually(lambda: in_work(server))
        server.stop()
        assert first.result().status_code == 503
        assert server.service.guard.backend.written < 150  # type: ignore[attr-defined]


def test_the_numbers_for_prometheus_are_those_of_what_was_done() -> None:
    unsure = [("Tim", 0.00001)]
    with slow(SHORT, unsure) as server:
        server.chat()
        server.chat()
        server.chat(max_tokens=0)
        text = server.http.get("/metrics").text
    assert 'energy_guard_verdicts_total{verdict="accept"} 1.0' in text
    assert 'energy_guard_verdicts_total{verdict="abstain"} 1.0' in text
    assert 'energy_guard_tokens_total{kind="completion"} 4.0' in text
    assert "energy_guard_queue_length 0.0" in text
    assert "energy_guard_wait_seconds_count 2.0" in text
    path = "/v1/chat/completions"
    assert f'energy_guard_responses_total{{path="{path}",status="200"}} 2.0' in text
    assert f'energy_guard_responses_total{{path="{path}",status="400"}} 1.0' in text


class Mistaken(Scripted):
    """Has a mistake in it, which is no error of this package's."""

    def _play(self, number: int, request: Request, script: Script) -> Generator[Event, None, None]:
        raise ZeroDivisionError(request.question)
        yield  # a generator


@pytest.mark.parametrize("stream", [False, True])
def test_a_mistake_of_ours_is_told_without_a_word_and_the_server_lives_on(stream: bool) -> None:
    with served(Guard(Mistaken.saying(SHORT, SHORT), LAX)) as server:
        failed = server.chat("secret", stream=stream)
        assert (failed.status_code, failed.json()["error"]["type"]) == (500, "server_error")
        assert "secret" not in failed.text
        assert not in_work(server)
        # Its connection was closed, so this is another one.
        assert httpx.get(f"{server.url}/health").status_code == 200


@pytest.mark.slow
def test_of_many_clients_every_one_is_answered_refused_or_gone() -> None:
    """64 clients ask 200 times, and every third hangs up; no thread is left."""
    before = threading.active_count()
    answers = [LONG[:5]] * 200
    outcomes: list[int | str] = []

    def ask(http: httpx.Client, number: int) -> int | str:
        body = {"messages": [{"role": "user", "content": "?"}], "stream": number % 2 == 0}
        patience = 0.05 if number % 3 == 0 else 60.0
        try:
            response = http.post("/v1/chat/completions", json=body, timeout=patience)
        except httpx.TimeoutException:
            return "gone"
        if response.status_code == 200:
            assert "w0" in response.text
        return response.status_code

    with slow(*answers, max_waiting=16) as server:
        limits = httpx.Limits(max_connections=None)
        with (
            httpx.Client(base_url=server.url, limits=limits) as http,
            ThreadPoolExecutor(64) as pool,
        ):
            outcomes = list(pool.map(lambda n: ask(http, n), range(200)))
        assert eventually(lambda: not in_work(server))
        assert server.chat().status_code == 200
        assert server.service._jobs == set()
    assert set(outcomes) == {200, 429, "gone"}
    assert len(outcomes) == 200
    assert threading.active_count() <= before + 1  # the engine's own thread ends with the engine


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_the_program_serves_and_ends_at_sigterm_without_a_word_of_its_clients(
    tiny_path: Path,
) -> None:
    command = [sys.executable, "-m", "energy_guard.cli", "serve", "--model", str(tiny_path)]
    command += ["--port", "0", "--n-threads", "1"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None and run.stdout is not None
        lines: list[str] = []
        for line in run.stderr:
            lines.append(line)
            if "running on" in line:
                break
        url = line.split()[4]
        body = {"messages": [{"role": "user", "content": "secret"}], "max_tokens": 4}
        response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
        answer = response.json()["choices"][0]["message"]
        run.send_signal(signal.SIGTERM)
        rest, printed = run.stderr.read(), run.stdout.read()
        run.wait(20)
    assert response.status_code == 200
    assert run.returncode in (0, -signal.SIGTERM)
    assert printed == ""
    assert "Traceback" not in rest
    assert "POST /v1/chat/completions" in rest
    said = "".join(lines) + rest
    assert "secret" not in said
    assert answer["content"] is None or answer["content"] not in said
