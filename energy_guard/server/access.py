"""Who is let in, how large a body may be, and whose trace it is, before anything is read of it."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from typing import Final, TypeVar

from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from energy_guard.json_text import KeyTwiceError, read_json
from energy_guard.server.errors import ApiError, error_response, invalid
from energy_guard.server.page import PAGE_PATHS
from energy_guard.server.schemas import Body
from energy_guard.server.settings import ServerSettings
from energy_guard.telemetry import caller_of
from energy_guard.text import quoted

B = TypeVar("B", bound=Body)

OPEN_PATHS: Final = frozenset({"/health", *PAGE_PATHS})
"""What is served without a key: it says nothing of anybody's requests, and the page asks for it."""

_BODY_S: Final = 30.0


class Access:
    """Lets a request through if it shows the key.

    Without a key a server of this machine alone takes only requests that were sent to one of its
    names: a page in a browser that had a name of its own point here is kept out.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http":
            refused = self._refused(Headers(scope=scope), scope["path"])
            if refused is not None:
                await error_response(refused)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refused(self, headers: Headers, path: str) -> ApiError | None:
        if "transfer-encoding" in headers and "content-length" in headers:
            # Of the two a server before this one may go by the other, and see another request.
            return ApiError(
                400,
                "the request says the length of its body in two ways",
                "Send Content-Length or Transfer-Encoding.",
                headers={"connection": "close"},
            )
        key = self._settings.api_key
        if key is None:
            host = headers.get("host", "")
            name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
            if self._settings.loopback and not is_loopback(name.strip("[]").lower()):
                return ApiError(
                    403,
                    "this server serves its own machine, and was called by another name",
                    "Give it a key (ENERGY_GUARD_API_KEY) to be called by other names.",
                    kind="permission_error",
                )
            return None
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        given = shown.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if path in OPEN_PATHS or hmac.compare_digest(given.encode("latin-1"), key.encode()):
            return None
        return ApiError(
            401,
            "the API key is missing or wrong",
            "Send it as Authorization: Bearer KEY.",
            kind="authentication_error",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )


class CallersTrace:
    """Lets the spans of a request be children of the caller's, whose `traceparent` it has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with caller_of(Headers(scope=scope)):
            await self._app(scope, receive, send)


def is_loopback(name: str) -> bool:
    """Whether a name or an address is one of this machine, whoever calls it."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False  # a name of which nobody knows where it leads


async def read_body(request: Request, kind: type[B], settings: ServerSettings) -> B:
    """Read and check a body.

    Raises:
        ApiError: if it is no JSON or is compressed (415), too large (413), too slow (408) or not as
            it has to be (400), or if the client goes away (499).
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        # Pages of other sites can make a browser send other types without asking first.
        raise ApiError(415, "the body is not JSON", "Send Content-Type: application/json.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(415, "the body is compressed", "Send it without Content-Encoding.")
    try:
        async with asyncio.timeout(_BODY_S):
            raw = await _bytes_of(request, settings.max_body)
    except TimeoutError as error:
        raise ApiError(
            408,
            f"the body did not come within {_BODY_S:g} seconds",
            headers={"connection": "close"},  # else what comes of it would be waited for
        ) from error
    except ClientDisconnect as error:
        raise ApiError(499, "the client has gone away") from error
    try:
        body = kind.model_validate_json(raw)
        read_json(raw.decode())
    except ValidationError as error:
        raise invalid(error) from error
    except KeyTwiceError as error:  # the one that counts may not be the one that was checked
        key = quoted(error.key)
        raise ApiError(400, f"the body gives the key {key} twice", code="invalid_json") from error
    return body


async def _bytes_of(request: Request, most: int) -> bytes:
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > most:
            raise ApiError(413, f"the body has more than {most} bytes", code="body_too_large")
    return bytes(raw)
