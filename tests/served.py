"""A server on a free port, in a thread of the test: stopped, and its threads gone, at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from energy_guard import Guard, Policy
from energy_guard.server.run import Listener, listener
from energy_guard.server.service import Service
from energy_guard.server.settings import ServerSettings

LAX = Policy(detector="nll:max", warn=5.0, abstain=9.0, unscored="show")
"""Shows whatever the model says, with a warning at most."""


@dataclass(frozen=True)
class Served:
    """A server that runs. url: its root."""

    url: str
    service: Service
    http: httpx.Client
    listening: Listener

    def stop(self) -> None:
        """Tell it to end, as SIGTERM does."""
        self.listening.should_exit = True

    def chat(self, question: str = "?", **fields: Any) -> httpx.Response:
        """Ask one question."""
        body = {"messages": [{"role": "user", "content": question}]} | fields
        return self.http.post("/v1/chat/completions", json=body)


@contextmanager
def served(guard: Guard, **settings: Any) -> Iterator[Served]:
    """Serve a guard for a while."""
    listening = listener(guard, ServerSettings(**{"drain_s": 2.0} | settings), "127.0.0.1", 0)
    thread = threading.Thread(target=listening.run, name="server")
    thread.start()
    until = time.monotonic() + 20
    while not listening.started:
        assert thread.is_alive() and time.monotonic() < until
        time.sleep(0.01)
    [socket] = [socket for server in listening.servers for socket in server.sockets]
    url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    key = settings.get("api_key")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=60) as http:
            service = listening.config.app.state.service  # type: ignore[union-attr]
            yield Served(url, service, http, listening)
    finally:
        listening.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def eventually(fact: Any, within_s: float = 10.0) -> bool:
    """Wait until a fact is true."""
    until = time.monotonic() + within_s
    while not fact() and time.monotonic() < until:
        time.sleep(0.01)
    return bool(fact())
