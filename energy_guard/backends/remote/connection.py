"""One HTTP client on one server: whoever waits for it can be interrupted, while it reads, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from energy_guard.backends.remote.failures import Address, server_failures
from energy_guard.extras import needs_extra

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal
    from httpx2 import Request as HttpRequest
    from openai import AsyncOpenAI

T = TypeVar("T")

Body = Mapping[str, object]
Interrupted = Callable[[], object]

_POLL_S: Final = 0.05
"""How often somebody who waits looks whether there is still a point in it."""

_CONNECT_S: Final = 10.0
"""How long a server may take to pick up; models that are slow to answer do so later."""

_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "user-agent",
    }
)
"""What a server is told beside the request and its key."""

_END: Final = object()


def never() -> bool:
    """Whoever waits does so to the end."""
    return False


@contextmanager
def connected(address: Address, *, timeout_s: float) -> Iterator[Connection]:
    """Open a connection, whose requests run on an event loop in a thread of its own.

    Each is sent once and to this address alone: the client's retries and redirects are off. So
    are the headers that it takes from variables, which are meant for OpenAI.

    Args:
        address: of the server.
        timeout_s: how long the server may be silent.

    Raises:
        MissingExtraError: the client is not installed.

    """
    with needs_extra("remote"):
        from anyio.from_thread import start_blocking_portal
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout

    async def own_headers(request: HttpRequest) -> None:
        for name in set(request.headers) - _HEADERS:
            del request.headers[name]
        if address.key is not None:
            request.headers["authorization"] = f"Bearer {address.key}"

    with start_blocking_portal() as portal:
        client = AsyncOpenAI(
            base_url=address.url,
            api_key="none",  # the client wants one in any case; `own_headers` sets it
            timeout=Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S)),
            max_retries=0,
            http_client=DefaultAsyncHttpxClient(
                follow_redirects=False, event_hooks={"request": [own_headers]}
            ),
        )
        try:
            yield Connection(address, portal, client)
        finally:
            portal.call(client.close)


@dataclass(frozen=True, slots=True)
class Connection:
    """Requests to a server, each of which ends early if `interrupted` says so."""

    address: Address
    portal: BlockingPortal
    client: AsyncOpenAI

    def get(self, path: str) -> object:
        """Return the JSON that is at a path."""

        async def get() -> object:
            return await self.client.get(path, cast_to=object)

        return self._waited(get, never)

    def get_if_there(self, path: str) -> object:
        """Return the JSON that is at a path; None if nothing is, or what is not for everybody."""
        from openai import NotFoundError, PermissionDeniedError

        async def get() -> object:
            try:
                return await self.client.get(path, cast_to=object)
            except (NotFoundError, PermissionDeniedError):  # gateways forbid what they do not know
                return None

        return self._waited(get, never)

    def post(
        self, path: str, body: Body, interrupted: Interrupted
    ) -> Generator[object, None, None]:
        """Send a request and yield its one answer, as JSON; nothing if it was interrupted."""

        async def post() -> object:
            return await self.client.post(path, cast_to=object, body=dict(body))

        answer = self._waited(post, interrupted)
        if answer is not None:
            yield answer

    def stream(
        self, path: str, body: Body, interrupted: Interrupted
    ) -> Generator[object, None, None]:
        """Send a request and yield the chunks of its answer; less of them if it is interrupted.

        The stream is closed with the generator, so that the server stops there.
        """
        from openai import AsyncStream

        async def post() -> AsyncStream[object]:
            return await self.client.post(
                path,
                cast_to=object,
                body={**body, "stream": True, "stream_options": {"include_usage": True}},
                stream=True,
                stream_cls=AsyncStream[object],
            )

        stream = self._waited(post, interrupted)
        if stream is None:
            return
        chunks = aiter(stream)

        async def chunk() -> object:
            return await anext(chunks, _END)

        try:
            while (found := self._waited(chunk, interrupted)) not in (None, _END):
                yield found
        finally:
            self.portal.call(stream.close)

    def _waited(self, work: Callable[[], Awaitable[T]], interrupted: Interrupted) -> T | None:
        """Wait for some work; None if it was interrupted, and is given up."""
        future = self.portal.start_task_soon(work)
        while not wait([future], timeout=_POLL_S).done:
            if interrupted():
                future.cancel()
                return None
        with server_failures(self.address):
            return future.result()
