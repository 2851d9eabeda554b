"""Keeps our numbers from clients that do not know them: vLLM's own limit, but for marked requests.

The numbers travel in columns 21 to 25 of a batch. Whoever asked for so many beside one of us, or
for 25, would take them for log-probabilities; without our extension vLLM refuses that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.vllm.shared_numbers import ASKED, LISTED, MARK

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REFUSED: Final = f"Requested logprobs of {{:g}}, which is greater than max allowed: {LISTED}"
_FIELDS: Final = ("logprobs", "top_logprobs", "prompt_logprobs")


class KeepsNumbersApart:
    """What vLLM's server puts around its application; it looks at what the application reads."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand everything on but bodies that ask for too much; see ASGI."""
        http = scope["type"] == "http"
        await self.app(scope, _checked(scope, receive) if http else receive, send)


def _checked(scope: Scope, receive: Receive) -> Receive:
    """Raise HTTPException in the place of the last part of such a body: vLLM makes its error."""
    from fastapi import HTTPException

    body = bytearray()

    async def checked() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                count = too_many(await _said(scope, bytes(body)))
                if count is not None:
                    raise HTTPException(400, _REFUSED.format(count))
        return message

    return checked


async def _said(scope: Scope, body: bytes) -> dict[str, Any]:
    """What a body says: JSON, or a form, as transcriptions have it; nothing if it is neither."""
    from starlette.requests import Request

    try:
        found = json.loads(body)
    except ValueError:

        async def again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async with Request(scope, again).form() as form:  # read as vLLM reads it
            return dict(form)
    return found if isinstance(found, dict) else {}


def too_many(said: Mapping[str, Any]) -> float | None:
    """Return how many log-probabilities a request asks for, if it may not have them.

    >>> too_many({"logprobs": True, "top_logprobs": 21})
    21.0
    >>> too_many({"use_beam_search": "true", "n": "11"})  # in a form all is text
    22.0
    >>> too_many({"logprobs": 25, "energy_guard": True})
    """
    ours = said.get(MARK) is True
    return next(
        (count for count in _counts(said) if count > LISTED and not (ours and count == ASKED)), None
    )


def _counts(said: Mapping[str, Any]) -> Iterator[float]:
    """All the numbers of log-probabilities that a body asks for, however it writes them."""
    for part in (said, said.get("sampling_params")):
        if isinstance(part, dict):
            yield from (_number(part.get(name)) for name in _FIELDS)
            if part.get("use_beam_search"):  # vLLM asks for two a beam
                yield 2 * _number(part.get("n"))


def _number(found: object) -> float:
    """A number as vLLM would read it; 0 for what is none, which it will refuse."""
    try:
        return float(found)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 0.0
