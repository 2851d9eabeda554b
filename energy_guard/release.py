"""When the text of a running answer is let go: as it is written, or a sentence behind.

A sentence behind means: no sentence comes out unless the answer, had it ended there, would be
shown. What the whole answer comes to is decided as ever when it has ended.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, Literal

from energy_guard.events import Retracted, Text
from energy_guard.judge import Judge
from energy_guard.locate.sentences import sentences
from energy_guard.request import Request
from energy_guard.result import shows
from energy_guard.running import Running
from energy_guard.shown import shown_text
from energy_guard.support import measured
from energy_guard.trace import Trace

Release = Literal["token", "sentence"]

_MAY_END: Final = re.compile(r"[.!?…。！？｡।؟\n\r]")
"""Only after one of these it is worth looking for the end of a sentence."""


class SentenceRelease:
    """Holds the text of one attempt back until the sentences that it is in are judged."""

    def __init__(self, judge: Judge, request: Request, running: Running) -> None:
        self._judge = judge
        self._request = request
        self._running = running
        self._waiting: deque[Text] = deque()
        self._let_go = 0
        self._judged = 0
        self._may_end = False
        # What passages do for an answer, and what neurons contribute, is known when it has ended:
        # till then all is held.
        supported = bool(measured(request, judge.detector.needs_support))
        self._held = supported or judge.detector.needs_exact

    def let_go(self, texts: Iterable[Text | Retracted]) -> Iterator[Text | Retracted]:
        """Yield the texts whose sentences may be shown, while the model writes on."""
        for text in texts:
            if isinstance(text, Retracted):  # it was reasoning: what is not comes again
                self._waiting.clear()
                self._let_go = 0
                yield text
                continue
            self._waiting.append(text)
            # A sentence has ended when the next one has begun, which is seen with the next token.
            if self._may_end and not self._held:
                yield from self._up_to(self._allowed())
            self._may_end = self._may_end or bool(_MAY_END.search(text.text))

    def rest(self) -> Iterator[Text]:
        """Yield what waits still: the whole answer is shown."""
        yield from self._waiting

    def _allowed(self) -> int:
        """How many characters of the shown text may come out."""
        so_far = self._running.so_far()
        ended = [] if so_far is None else sentences(so_far)[:-1]
        if so_far is None or not ended or ended[-1].end <= self._judged:
            return self._let_go
        self._judged, self._may_end = ended[-1].end, False
        prefix = self._running.so_far(ended[-1].end)
        if prefix is None or not self._shown(prefix):
            self._held = True
            return self._let_go
        return len(shown_text(prefix.text, prefix.reasoning_open))

    def _shown(self, prefix: Trace) -> bool:
        return shows(self._judge.final([self._judge.assess(prefix, self._request)]))

    def _up_to(self, characters: int) -> Iterator[Text]:
        while self._waiting and self._let_go + len(self._waiting[0].text) <= characters:
            text = self._waiting.popleft()
            self._let_go += len(text.text)
            yield text
