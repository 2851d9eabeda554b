"""Keeps our numbers from clients that do not know them: vLLM's own limit, but for marked requests.

The numbers travel in columns 21 to 25 of a batch. Whoever asked for so many beside one of us, or
for 25, would take them for log-probabilities; without our extension vLLM refuses that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.vllm.shared_numbers import ASKED, LISTED, MARK

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FIELDS: Final = ("logprobs", "top_logprobs", "prompt_logprobs")


class KeepsNumbersApart:
    """What vLLM's server puts around its application; it looks at what the application reads."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand everything on but bodies that ask for too much; see ASGI."""
        await self.app(scope, _checked(receive) if scope["type"] == "http" else receive, send)


def _checked(receive: Receive) -> Receive:
    """Raise HTTPException in the place of the last part of such a body: vLLM makes its error."""
    from fastapi import HTTPException

    body = bytearray()

    async def checked() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            body.extend(message.get("body", b""))
            count = None if message.get("more_body") else too_many(bytes(body))
            if count is not None:
                raise HTTPException(
                    400,
                    f"Requested logprobs of {count:g}, which is greater than max allowed: {LISTED}",
                )
        return message

    return checked


def too_many(body: bytes) -> float | None:
    """Return how many log-probabilities a request asks for, if it may not have them.

    >>> too_many(b'{"logprobs": true, "top_logprobs": 21}')
    21.0
    >>> too_many(b'{"logprobs": 25, "energy_guard": true}')
    """
    try:
        found = json.loads(body)
    except ValueError:  # a form, or what vLLM will refuse
        return None
    if not isinstance(found, dict):
        return None
    ours = found.get(MARK) is True
    counts = _counts(found)
    return next(
        (count for count in counts if count > LISTED and not (ours and count == ASKED)), None
    )


def _counts(found: dict[str, Any]) -> Iterator[float]:
    """All the numbers of log-probabilities that a body asks for, however it writes them."""
    for part in (found, found.get("sampling_params")):
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
