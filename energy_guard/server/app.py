"""The routes of a server: each turns a body into a question, and a result into a response."""

from __future__ import annotations

import time
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from energy_guard.errors import EnergyGuardError
from energy_guard.guard import Guard
from energy_guard.request import Request
from energy_guard.server.access import Access, CallersTrace, read_body
from energy_guard.server.answers import KEY, guard_object, verdict_headers, worst
from energy_guard.server.asked import Wanted, turns_of, wanted_of_chat, wanted_of_text
from energy_guard.server.errors import ApiError, error_response, failed, stopping
from energy_guard.server.guardrail import UNKNOWN, GuardrailBody, Questions, decision
from energy_guard.server.metrics import CountedResponses
from energy_guard.server.page import page_routes
from energy_guard.server.schemas import ChatBody, ScoreBody, TextBody
from energy_guard.server.service import Service
from energy_guard.server.settings import ServerSettings
from energy_guard.server.streams import EventStream
from energy_guard.text import quoted


def create_app(guard: Guard, settings: ServerSettings) -> Starlette:
    """Make the application of a server.

    Args:
        guard: answers, one request at a time.
        settings: limits and defaults.

    Returns:
        An ASGI application; its `state.service` is the `Service` that is to be stopped.
    """
    service = Service(guard, settings)
    endpoints = Endpoints(service)
    routes = [
        *page_routes(),
        Route("/v1/chat/completions", endpoints.chat, methods=["POST"]),
        Route("/v1/completions", endpoints.text, methods=["POST"]),
        Route("/v1/score", endpoints.score, methods=["POST"]),
        Route("/beta/litellm_basic_guardrail_api", endpoints.guardrail, methods=["POST"]),
        Route("/v1/models", endpoints.models),
        Route("/v1/models/{name:path}", endpoints.model),
        Route("/health", endpoints.health),
        Route("/metrics", endpoints.metrics),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(
                CountedResponses,
                metrics=service.metrics,
                paths=[route.path for route in routes],
            ),
            Middleware(Access, settings=settings),
            Middleware(CallersTrace),
        ],
        exception_handlers={
            EnergyGuardError: _told,
            HTTPException: _told,
            Exception: _told,
        },
    )
    app.state.service = service
    return app


async def _told(_: HttpRequest, error: Exception) -> Response:
    """Tell an error in OpenAI's form; of one that is a mistake of ours nothing is told."""
    if isinstance(error, EnergyGuardError):
        return error_response(error)
    if isinstance(error, HTTPException):
        return error_response(ApiError(error.status_code, error.detail, headers=error.headers))
    return error_response(failed())


class Endpoints:
    """What is behind the routes."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._settings = service.settings
        self._questions = Questions()

    async def chat(self, request: HttpRequest) -> Response:
        """Answer a chat."""
        body = await read_body(request, ChatBody, self._settings)
        self._check_model(body.model)
        takes_tools = self._service.guard.backend.takes_tools
        abstention = self._service.guard.policy.abstention_text
        wanted = wanted_of_chat(body, self._settings, takes_tools, abstention)
        return await self._answered(request, wanted)

    async def text(self, request: HttpRequest) -> Response:
        """Continue a text."""
        body = await read_body(request, TextBody, self._settings)
        self._check_model(body.model)
        return await self._answered(request, wanted_of_text(body, self._settings))

    async def score(self, request: HttpRequest) -> Response:
        """Judge an answer that exists; whoever sends its words may have them back."""
        body = await read_body(request, ScoreBody, self._settings)
        self._check_model(body.model)
        deadline = time.monotonic() + self._settings.timeout_s
        if body.prompt is not None:
            asked = Request.raw(body.prompt, deadline=deadline)
        else:
            takes_tools = self._service.guard.backend.takes_tools
            asked = Request.chat(turns_of(body.messages or (), takes_tools), deadline=deadline)
        job = self._service.score(asked, body.answer, fast=body.fast)
        result = await job.whole(request.receive)
        told = {"object": "score", "model": self._service.name}
        return JSONResponse(told | {KEY: guard_object(result, body.details)})

    async def guardrail(self, request: HttpRequest) -> Response:
        """Judge the answer of another model for LiteLLM."""
        body = await read_body(request, GuardrailBody, self._settings)
        takes_tools = self._service.guard.backend.takes_tools
        if body.input_type == "request":
            self._questions.keep(body, takes_tools)
            return JSONResponse({"action": "NONE"})
        if not body.answers:
            return JSONResponse({"action": "NONE"})
        turns = self._questions.of(body, takes_tools)
        if not turns:
            return JSONResponse({"action": "BLOCKED", "blocked_reason": UNKNOWN})
        asked = Request.chat(turns, deadline=time.monotonic() + self._settings.timeout_s)
        results = [
            await self._service.score(asked, answer).whole(request.receive)
            for answer in body.answers
        ]
        return JSONResponse(decision(results))

    async def models(self, _: HttpRequest) -> Response:
        """List the one model that there is."""
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: HttpRequest) -> Response:
        """Describe the model."""
        self._check_model(request.path_params["name"])
        return JSONResponse(self._model())

    async def health(self, _: HttpRequest) -> Response:
        """Say whether the server answers."""
        if self._service.line.closed:
            raise stopping()
        return JSONResponse({"status": "ok", "waiting": len(self._service.line)})

    async def metrics(self, _: HttpRequest) -> Response:
        """Give Prometheus its numbers."""
        return Response(self._service.metrics.text(), media_type="text/plain; version=0.0.4")

    async def _answered(self, request: HttpRequest, wanted: Wanted) -> Response:
        if wanted.stream is not None:
            streaming = self._service.stream(wanted)
            await streaming.begun(request.receive, self._settings.ping_s)
            headers = _position(streaming.place.position)
            return EventStream(streaming, self._settings.ping_s, headers)
        job = self._service.answers(wanted)
        choices = await job.whole(request.receive)
        data = self._service.envelope(wanted).whole(choices)
        headers = verdict_headers(worst(choices)) | _position(job.place.position)
        return JSONResponse(data, headers=headers)

    def _check_model(self, name: str | None) -> None:
        known = self._service.name
        if name not in (None, known, self._service.info.name):
            raise ApiError(
                404,
                f"there is no model {quoted(name)} here",
                f"Ask for {known!r}, or leave the model out.",
                code="model_not_found",
                param="model",
            )

    def _model(self) -> dict[str, Any]:
        return {
            "id": self._service.name,
            "name": self._service.info.name,
            "object": "model",
            "created": 0,
            "owned_by": "energy-guard",
            "fingerprint": self._service.info.fingerprint,
            "backend": self._service.info.backend,
        }


def _position(position: int) -> dict[str, str]:
    return {"x-energy-guard-queue-position": str(position)}
