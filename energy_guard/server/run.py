"""The server as a process: it listens, and ends in order when it is told to."""

from __future__ import annotations

import copy
import json
import socket
from typing import Any, Final

import h11
import uvicorn
from uvicorn.config import LOGGING_CONFIG
from uvicorn.protocols.http.h11_impl import H11Protocol

from energy_guard.guard import Guard
from energy_guard.server.app import create_app
from energy_guard.server.errors import ApiError, error_object
from energy_guard.server.settings import ServerSettings


class Listener(uvicorn.Server):
    """Listens; on SIGTERM or Ctrl-C it refuses what waits and lets the answer in work end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order."""
        self.config.app.state.service.stop()  # type: ignore[union-attr]
        await super().shutdown(sockets)


class Http(H11Protocol):
    """HTTP, in which what cannot be read as HTTP is told in OpenAI's form, too."""

    def send_400_response(self, msg: str) -> None:
        """Tell it, and close the connection."""
        told = json.dumps(error_object(ApiError(400, msg.rstrip(".")))).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=told),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


KEEP_ALIVE_S: Final = 75
"""Seconds that a connection on which nothing is asked stays open: longer than clients and proxies
keep theirs (httpx 5, nginx 60), so that none of them asks on one that is being closed."""


def listener(guard: Guard, settings: ServerSettings, host: str, port: int) -> Listener:
    """Make what listens; its `run` returns when the server has ended.

    Args:
        guard: answers.
        settings: limits and defaults.
        host: address to listen on.
        port: 0 for any that is free.
    """
    logging: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    logging["handlers"]["access"]["stream"] = "ext://sys.stderr"
    return Listener(
        uvicorn.Config(
            create_app(guard, settings),
            host=host,
            port=port,
            log_config=logging,
            loop="asyncio",
            http=Http,
            ws="none",
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(settings.drain_s) + 2,
        )
    )
