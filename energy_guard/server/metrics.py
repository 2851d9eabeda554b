"""Numbers for Prometheus: counts and times, no text."""

from __future__ import annotations

from collections.abc import Callable, Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from energy_guard.result import Result

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The numbers of one server, in a registry of their own."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        queue = Gauge("energy_guard_queue_length", "Requests that wait.", registry=self._registry)
        queue.set_function(waiting)
        self._verdicts = Counter(
            "energy_guard_verdicts", "Answers by verdict.", ["verdict"], registry=self._registry
        )
        self._tokens = Counter(
            "energy_guard_tokens", "Tokens read and written.", ["kind"], registry=self._registry
        )
        self._responses = Counter(
            "energy_guard_responses",
            "Responses by path and status.",
            ["path", "status"],
            registry=self._registry,
        )
        self._waited = Histogram(
            "energy_guard_wait_seconds",
            "How long requests waited for their turn.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._answered = Histogram(
            "energy_guard_answer_seconds",
            "How long an answer took, its retries included.",
            buckets=_SECONDS,
            registry=self._registry,
        )

    def waited(self, seconds: float) -> None:
        """Count a request whose turn has come."""
        self._waited.observe(seconds)

    def answered(self, result: Result, seconds: float) -> None:
        """Count an answer with its verdict and tokens."""
        self._answered.observe(seconds)
        self._verdicts.labels(result.verdict).inc()
        self._tokens.labels("prompt").inc(result.trace.prompt_tokens)
        self._tokens.labels("completion").inc(sum(len(a.trace) for a in result.attempts))

    def responded(self, path: str, status: int) -> None:
        """Count a response."""
        self._responses.labels(path, str(status)).inc()

    def text(self) -> bytes:
        """Return all of them in Prometheus' text form."""
        return generate_latest(self._registry)


class CountedResponses:
    """Counts the responses of an application; paths that are not served are one, "other"."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and see the status of its response."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = scope["path"] if scope["path"] in self._paths else "other"
                self._metrics.responded(path, message["status"])
            await send(message)

        await self._app(scope, receive, counted)
