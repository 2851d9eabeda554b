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
from energy_guard.server.waves import Wave


class QueuePlace:
    """One request's place in the line.

    position: how many are before it when it comes. alike: equal to that of requests that can be
    answered together with it; None if none can.
    """

    def __init__(self, line: WaitingLine, position: int, alike: object) -> None:
        self.position = position
        self.alike = alike
        self.wave: Wave | None = None
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

    def take_wave(self) -> Wave | None:
        """Return the wave in which this request is to be asked; None if that is to be alone."""
        wave, self.wave = self.wave, None
        return wave

    def leave(self) -> None:
        """Give the place up, whether its turn has come or not; the next one is served."""
        wave = self.take_wave()
        if wave is not None:
            wave.leave()  # it has not asked
        self._line.left(self)


class WaitingLine:
    """The requests of a server: some are answered, the others wait.

    limit: how many may wait. at_once: how many are answered together if they are alike. Nobody is
    overtaken: they are those that come next.
    """

    def __init__(self, limit: int, at_once: int = 1) -> None:
        self._limit = limit
        self._at_once = at_once
        self._served: set[QueuePlace] = set()
        self._waiting: deque[QueuePlace] = deque()
        self._closed = False
        self._usual_s = 1.0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether nobody is let in any more."""
        return self._closed

    def join(self, alike: object = None) -> QueuePlace:
        """Take the last place.

        Args:
            alike: see `QueuePlace`.

        Raises:
            ApiError: if there is no place, or the line is closed.
        """
        if self._closed:
            raise stopping()
        if self._served and len(self._waiting) >= self._limit:
            raise too_many(len(self._waiting), max(1, math.ceil(self._usual_s)))
        place = QueuePlace(self, len(self._waiting) + len(self._served), alike)
        self._waiting.append(place)
        self._serve_next()
        return place

    def left(self, place: QueuePlace) -> None:
        """Let the next ones in, if it was the last that was served."""
        if place not in self._served:
            if place in self._waiting:
                self._waiting.remove(place)
            return
        if place.began is not None:  # the latest ones count most
            self._usual_s += (time.monotonic() - place.began - self._usual_s) / 4
        self._served.remove(place)
        self._serve_next()

    def close(self) -> None:
        """Refuse all who wait; whoever is served goes on."""
        self._closed = True
        for place in self._waiting:
            if not place.turn.done():
                place.turn.set_exception(stopping())
        self._waiting.clear()

    def _serve_next(self) -> None:
        if self._served:
            return
        while self._waiting and self._fits(self._waiting[0]):
            following = self._waiting.popleft()
            if not following.turn.done():  # else it was cancelled, and will leave by itself
                self._served.add(following)
        wave = Wave(len(self._served)) if len(self._served) > 1 else None
        for place in self._served:
            place.wave = wave
            place.turn.set_result(None)

    def _fits(self, place: QueuePlace) -> bool:
        """Whether it is served with those that are about to be."""
        alike = [served.alike for served in self._served]
        return not alike or (
            len(alike) < self._at_once and place.alike is not None and place.alike == alike[0]
        )
