"""The server as a process: it listens, and ends in order when it is told to."""

from __future__ import annotations

import copy
import socket
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from energy_guard.guard import Guard
from energy_guard.server.app import create_app
from energy_guard.server.settings import ServerSettings


class Listener(uvicorn.Server):
    """Listens; on SIGTERM or Ctrl-C it refuses what waits and lets the answer in work end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order."""
        self.config.app.state.service.stop()  # type: ignore[union-attr]
        await super().shutdown(sockets)


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
            http="h11",
            ws="none",
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(settings.drain_s) + 2,
        )
    )
