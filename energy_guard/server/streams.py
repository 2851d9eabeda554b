"""The response that is sent while its job works."""

from __future__ import annotations

import logging
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from energy_guard.errors import EnergyGuardError
from energy_guard.server.errors import as_api_error, error_object, failed
from energy_guard.server.jobs import ClientJob
from energy_guard.server.responses import DONE, PING, event

_LOG = logging.getLogger("uvicorn.error")


class EventStream(Response):
    """Sends what a job has ready, and pings while it has nothing.

    An error after the first event is an event, too: the status has been sent by then.
    """

    media_type = "text/event-stream"

    def __init__(self, job: ClientJob[Any], ping_s: float, headers: dict[str, str]) -> None:
        super().__init__(headers={"cache-control": "no-store"} | headers)
        del self.headers["content-length"]  # nobody knows it yet
        self._job = job
        self._ping_s = ping_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""

        async def send_part(part: bytes) -> None:
            await send({"type": "http.response.body", "body": part, "more_body": True})

        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        await self._job.each(receive, send_part, ping=PING, silent_s=self._ping_s)
        try:
            self._job.result()
        except EnergyGuardError as error:
            await send_part(event(error_object(as_api_error(error))))
        except Exception as error:  # noqa: BLE001  # who has heard a part must hear that it broke off
            _LOG.error("%s while an answer was streamed", type(error).__name__)
            await send_part(event(error_object(failed())))
        await send_part(DONE)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
