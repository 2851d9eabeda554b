"""Errors in OpenAI's form, each with its HTTP status."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError
from starlette.responses import JSONResponse

from energy_guard.errors import (
    EnergyGuardError,
    EngineBusyError,
    InputError,
    PromptTooLongError,
)

_LOG = logging.getLogger("uvicorn.error")
_TRIED: Final = ("tuple[", "constrained-", "literal[")
"""How pydantic begins the names of types that it tried for a value; no client knows them."""

_LONGEST_PARAM: Final = 200
"""Characters of a field's name that an error tells: a body may have any."""


class ApiError(EnergyGuardError):
    """A request that is refused.

    status: of HTTP. kind, code, param: `type`, `code` and `param` in OpenAI's form.
    """

    def __init__(
        self,
        status: int,
        message: str,
        hint: str = "",
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.headers = dict(headers or {})


def too_many(waiting: int, retry_after_s: int) -> ApiError:
    """Return the refusal of a request for which the queue has no place."""
    return ApiError(
        429,
        f"{waiting} requests wait already",
        "Ask again later.",
        kind="rate_limit_error",
        code="queue_full",
        headers={"retry-after": str(retry_after_s)},
    )


def stopping() -> ApiError:
    """Return the refusal of a request that a server which ends cannot answer any more."""
    return ApiError(
        503,
        "the server is shutting down",
        kind="server_error",
        code="shutting_down",
        headers={"retry-after": "5"},
    )


def invalid(error: ValidationError) -> ApiError:
    """Say what is wrong with a body, without a word of what stands in it."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    # Of a value that may be of several types each type complains: most of them of the type alone.
    # A list is too short, too, if its items are of no good type.
    problems.sort(
        key=lambda problem: (
            problem["type"] != "extra_forbidden",
            problem["type"].endswith(("_type", "too_short")),
        )
    )
    first = problems[0]
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is not valid JSON: {first['msg']}", code="invalid_json")
    fields = (str(part) for part in first["loc"] if not str(part).startswith(_TRIED))
    param = ".".join(fields)[:_LONGEST_PARAM]
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        what = "there is no such field here"
    return ApiError(400, f"{param}: {what}" if param else what, param=param or None)


def as_api_error(error: EnergyGuardError) -> ApiError:
    """Return what a client gets to know of an error: its status, and OpenAI's words for it."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, PromptTooLongError):
        return ApiError(400, error.message, error.hint, code="context_length_exceeded")
    if isinstance(error, InputError):
        return ApiError(400, error.message, error.hint)
    if isinstance(error, EngineBusyError):
        headers = {"retry-after": "5"}
        return ApiError(
            503, error.message, error.hint, kind="server_error", code="busy", headers=headers
        )
    # What it says may be of files of this machine: that is for whoever runs the server.
    _LOG.error("%s: %s", type(error).__name__, error.message)
    return failed()


def failed() -> ApiError:
    """Return what a client gets to know of a mistake that is none of its own."""
    return ApiError(500, "the server failed", "Ask again; its log has more.", kind="server_error")


def error_object(error: ApiError) -> dict[str, Any]:
    """Return OpenAI's object for an error."""
    message = f"{error.message}. {error.hint}" if error.hint else error.message
    return {
        "error": {
            "message": message,
            "type": error.kind,
            "param": error.param,
            "code": error.code,
        }
    }


def error_response(error: EnergyGuardError) -> JSONResponse:
    """Return the response that tells of an error."""
    told = as_api_error(error)
    return JSONResponse(error_object(told), told.status, headers=told.headers)
