"""Who is served next: first come, first served, up to a limit.

All of it runs in one event loop, so nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque

from energy_guard.errors import EngineBusyError
from energy_guard.server.errors import stopping, too_many


class QueuePlace:
    """One request's place in the line. position: how many are before it when it comes."""

    def __init__(self, line: WaitingLine, position: int) -> None:
        self.position = position
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.began: float | None = None
        self._line = line

    async def wait(self, until: float) -> None:
        """Wait for its turn.

        Args:
            until: a `time.monotonic()` value.

        Raises:
            EngineBusyError: if that passes before.
            ApiError: if the line is closed meanwhile.
        """
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self.turn
        except TimeoutError as error:
            raise EngineBusyError(
                "out of time, while other requests were answered", "Ask again later."
            ) from error
        self.began = time.monotonic()

    def leave(self) -> None:
        """Give the place up, whether its turn has come or not; the next one is served."""
        self._line.left(self)


class WaitingLine:
    """The requests of a server: one is answered, the others wait."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._served: QueuePlace | None = None
        self._waiting: deque[QueuePlace] = deque()
        self._closed = False
        self._usual_s = 1.0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether nobody is let in any more."""
        return self._closed

    def join(self) -> QueuePlace:
        """Take the last place; ApiError if there is none, or the line is closed."""
        if self._closed:
            raise stopping()
        if self._served is not None and len(self._waiting) >= self._limit:
            raise too_many(len(self._waiting), max(1, math.ceil(self._usual_s)))
        place = QueuePlace(self, len(self._waiting) + (self._served is not None))
        if self._served is None:
            self._serve(place)
        else:
            self._waiting.append(place)
        return place

    def left(self, place: QueuePlace) -> None:
        """Let the next one in, if it was this one's turn."""
        if place is not self._served:
            if place in self._waiting:
                self._waiting.remove(place)
            return
        if place.began is not None:  # the latest ones count most
            self._usual_s += (time.monotonic() - place.began - self._usual_s) / 4
        self._served = None
        while self._waiting and self._served is None:
            following = self._waiting.popleft()
            if not following.turn.done():  # else it was cancelled, and will leave by itself
                self._serve(following)

    def close(self) -> None:
        """Refuse all who wait; whoever is served goes on."""
        self._closed = True
        for place in self._waiting:
            if not place.turn.done():
                place.turn.set_exception(stopping())
        self._waiting.clear()

    def _serve(self, place: QueuePlace) -> None:
        self._served = place
        place.turn.set_result(None)
