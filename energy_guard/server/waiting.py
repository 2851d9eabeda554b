"""Who is served next: first come, first served, up to a limit.

All of it runs in one event loop, so nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from energy_guard.errors import EngineBusyError
from energy_guard.events import GuardEvent
from energy_guard.gathering import Awaited, Gathering
from energy_guard.server.errors import stopping, too_many
from energy_guard.waves import WaveQuestion

_COME_BACK_WITHIN_S: Final = 60.0
"""The longest time that OpenAI's client waits because a server says so."""


class QueuePlace:
    """One request's place in the line.

    position: how many are before it when it comes. alike: equal to that of requests that can be
    answered together with it; None if none can. answers: how many it wants. wave: with whom it is
    asked; None if its answers are written one by one.
    """

    def __init__(self, line: WaitingLine, position: int, alike: object, answers: int) -> None:
        self.position = position
        self.alike = alike
        self.answers = answers
        self.wave: Gathering | None = None
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

    def ask(self, joined: Sequence[tuple[WaveQuestion, Iterable[GuardEvent]]]) -> list[Awaited]:
        """Ask in the wave that this request is in, once; see `Gathering.come`."""
        wave, self.wave = self.wave, None
        return [] if wave is None else wave.come(joined)

    def leave(self) -> None:
        """Give the place up, whether its turn has come or not; the next one is served."""
        self.ask([])  # whoever is in a wave with it does not wait for it
        self._line.left(self)


class WaitingLine:
    """The requests of a server: some are answered, the others wait.

    limit: how many may wait. at_once: how many answers are written together for requests that are
    alike. Nobody is overtaken: they are those that come next.
    """

    def __init__(self, limit: int, at_once: int = 1) -> None:
        self._limit = limit
        self._at_once = at_once
        self._served: list[QueuePlace] = []
        self._waiting: deque[QueuePlace] = deque()
        self._closed = False
        self._usual_s = 1.0
        self._last_comes_back = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether nobody is let in any more."""
        return self._closed

    def join(self, alike: object = None, answers: int = 1) -> QueuePlace:
        """Take the last place.

        Args:
            alike: see `QueuePlace`.
            answers: see `QueuePlace`.

        Raises:
            ApiError: if there is no place, or the line is closed.
        """
        if self._closed:
            raise stopping()
        if self._served and len(self._waiting) >= self._limit:
            raise too_many(len(self._waiting), self._comes_back_s())
        place = QueuePlace(self, len(self._waiting) + len(self._served), alike, answers)
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

    def _comes_back_s(self) -> int:
        """In how many seconds one that is refused is to come again: one after the other.

        All at once would be refused again. They come at the pace of the answers, and within the
        time that clients are ready to wait.
        """
        now = time.monotonic()
        after_last_s = max(0.0, self._last_comes_back - now) + self._usual_s / self._at_once
        wait_s = after_last_s % _COME_BACK_WITHIN_S
        self._last_comes_back = now + wait_s
        return max(1, math.ceil(wait_s))

    def _serve_next(self) -> None:
        if self._served:
            return
        while self._waiting and self._fits(self._waiting[0]):
            following = self._waiting.popleft()
            if not following.turn.done():  # else it was cancelled, and will leave by itself
                self._served.append(following)
        wave = Gathering(len(self._served)) if self._asks_at_once() else None
        for place in self._served:
            place.wave = wave
            place.turn.set_result(None)

    def _asks_at_once(self) -> bool:
        """Whether those that are about to be served want several answers, and may have a batch."""
        alike = all(place.alike is not None for place in self._served)
        answers = sum(place.answers for place in self._served)
        return alike and min(answers, self._at_once) > 1

    def _fits(self, place: QueuePlace) -> bool:
        """Whether it is served with those that are about to be."""
        if not self._served:
            return True
        first = self._served[0]
        answers = sum(served.answers for served in self._served) + place.answers
        return place.alike is not None and place.alike == first.alike and answers <= self._at_once
