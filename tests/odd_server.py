"""A server of OpenAI's interface that answers whatever a test wants, on a free port."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from energy_guard.backends.remote import RemoteServer

MODELS = {"data": [{"id": "m", "owned_by": "odd"}]}

Tokens = Sequence[tuple[str, float]]


def entry(text: str, p: float, **fields: Any) -> dict[str, Any]:
    """A token with its probability, beside two others that share most of the rest.

    fields: in the place of its own; its text and bytes in the list of likely tokens, too.
    """
    rest = (1 - p) * 0.9
    others = [("?", rest * 0.6), ("!", rest * 0.4)]
    own = {name: fields[name] for name in ("token", "bytes") if name in fields}
    top = [listed(text, p) | own, *(listed(name, value) for name, value in others)]
    top.sort(key=lambda each: -each["logprob"])
    return listed(text, p) | {"top_logprobs": top} | fields


def listed(text: str, p: float) -> dict[str, Any]:
    return {"token": text, "logprob": math.log(p), "bytes": list(text.encode())}


def chat(tokens: Tokens, text: str | None = None, **choice: Any) -> dict[str, Any]:
    """A whole answer of a chat."""
    said = "".join(text for text, _ in tokens) if text is None else text
    entries = [entry(name, p) for name, p in tokens]
    message = {"role": "assistant", "content": said}
    base = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"choices": [base | {"logprobs": {"content": entries}} | choice]}


def chunks(tokens: Tokens) -> list[Any]:
    """The same as a stream, a token a chunk."""
    found: list[Any] = [
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {"content": text},
                    "logprobs": {"content": [entry(text, p)]},
                    "finish_reason": None,
                }
            ]
        }
        for text, p in tokens
    ]
    return [*found, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, "[DONE]"]


@dataclass
class Odd:
    """What the server plays next, and what it heard.

    tells: what is at /v1/energy_guard, if anything is.
    answers: each a JSON object (sent whole), a list (sent as a stream), a Response, or an
    exception to break a stream with; the last one serves for all further requests.
    """

    url: str
    answers: list[Any] = field(default_factory=list)
    models: Any = field(default_factory=lambda: MODELS)
    tells: Any = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0
    pause_s: float = 0.0

    def says(self, *answers: Any) -> None:
        self.answers = list(answers)

    def backend(self, **options: Any) -> RemoteServer:
        return RemoteServer(self.url, **({"top_logprobs": 3} | options))

    async def list_models(self, request: Request) -> Response:
        self.keys.append(request.headers.get("authorization"))
        return self.models if isinstance(self.models, Response) else JSONResponse(self.models)

    async def tell(self, _: Request) -> Response:
        return refusal(404, "Not Found") if self.tells is None else JSONResponse(self.tells)

    async def answer(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        self.keys.append(request.headers.get("authorization"))
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Response):
            return found
        if isinstance(found, list):
            return StreamingResponse(self._stream(found), media_type="text/event-stream")
        return JSONResponse(found)

    async def _stream(self, parts: list[Any]) -> AsyncIterator[str]:
        import anyio

        for part in parts:
            if isinstance(part, Exception):
                raise part
            await anyio.sleep(self.pause_s)
            self.sent += 1
            yield f"data: {part if isinstance(part, str) else json.dumps(part)}\n\n"


def refusal(status: int, message: str, **fields: Any) -> Response:
    return JSONResponse({"error": {"message": message, **fields}}, status)


def text(words: str, status: int = 200, kind: str = "plain") -> Response:
    """An answer as it is written here. kind: what it calls itself."""
    media = "application/json" if kind == "json" else "text/plain"
    return Response(words, status, media_type=media)


@contextmanager
def odd_server() -> Iterator[Odd]:
    odd = Odd("")
    app = Starlette(
        routes=[
            Route("/v1/models", odd.list_models),
            Route("/v1/energy_guard", odd.tell),
            Route("/v1/chat/completions", odd.answer, methods=["POST"]),
            Route("/v1/completions", odd.answer, methods=["POST"]),
        ]
    )
    config = uvicorn.Config(app, "127.0.0.1", 0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="odd server")
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive() and time.monotonic() < until
        time.sleep(0.01)
    odd.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    try:
        yield odd
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
