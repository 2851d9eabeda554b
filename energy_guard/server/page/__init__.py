"""A page at `/` to ask from a browser: its files, as they are, and the headers that guard them.

It knows nothing that a client does not: all it does goes through the interface of this server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FILES: Final = {
    "/": ("index.html", "text/html"),
    "/page/page.css": ("page.css", "text/css"),
    **{
        f"/page/{name}.js": (f"{name}.js", "text/javascript")
        for name in ("main", "server", "turns", "limits", "answer", "tokens", "plot", "elements")
    },
}

PAGE_PATHS: Final = frozenset(_FILES)
"""All that a browser has to load for the page."""

PAGE_HEADERS: Final = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",  # a newer version may stand there next time
}
"""No script, style or address but those of this server, and no page around it."""


def page_routes() -> list[Route]:
    """Return the routes of the page; its files are read once."""
    folder = files(__name__)
    return [
        Route(path, _serving((folder / name).read_bytes(), media))
        for path, (name, media) in _FILES.items()
    ]


def _serving(content: bytes, media: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(_: Request) -> Response:
        return Response(content, media_type=media, headers=PAGE_HEADERS)

    return serve
