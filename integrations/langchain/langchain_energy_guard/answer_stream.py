"""A guard's events → chunks and custom events, the same for every way of calling.

Knows no threads and no LangChain runs: `answer_run` carries out what comes from here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, Literal
from uuid import UUID

from langchain_core.messages import AIMessageChunk

from energy_guard import Result
from energy_guard.errors import EngineError
from energy_guard.events import AttemptStarted, Done, GuardEvent, Retracted, Text
from energy_guard.release import Release
from energy_guard.score import Scorer
from langchain_energy_guard import custom_events
from langchain_energy_guard.answer_message import AnswerMessage
from langchain_energy_guard.chat_request import ChatRequest
from langchain_energy_guard.custom_events import CustomEvent
from langchain_energy_guard.errors import AnswerRetryError, AnswerWithheldError
from langchain_energy_guard.guarded_call import current_run, is_guarded
from langchain_energy_guard.metadata import Carried

StreamingMode = Literal["hold", "sentence", "live"]
"""When text comes: after the verdict, a sentence behind, or as it is written."""

PROGRESS_S: Final = 0.5
"""How much time is at least between two signs of life of an answer that is held."""

_BREAK: Final = "\n\n"
"""Between a text that is withdrawn and what takes its place."""


class AnswerStream:
    """What has been streamed of one answer so far."""

    def __init__(
        self,
        asked: ChatRequest,
        scorer: Scorer,
        run_id: UUID | None,
        mode: StreamingMode,
        carried: Carried,
    ) -> None:
        self._asked = asked
        self._scorer = scorer
        self._run_id = run_id
        self._carried = carried
        held = mode == "hold" or asked.structured or bool(asked.tools)
        self._live = not held and not is_guarded()
        self.release: Release = "sentence" if mode == "sentence" and self._live else "token"
        self._progress = custom_events.Progress(run_id)
        self._told = time.monotonic()
        self._said = False
        self._attempt = ""
        self._answer: AnswerMessage | None = None

    @property
    def answer(self) -> AnswerMessage:
        """What came in the end; EngineError if nothing did."""
        if self._answer is None:
            raise EngineError("the stream ended without a result")
        return self._answer

    def feed(self, event: GuardEvent) -> Iterator[AIMessageChunk | CustomEvent]:
        """Take the guard's next event, and yield what follows from it.

        Raises:
            AnswerWithheldError: as `AnswerMessage.of` does, after the decision was told.
        """
        if isinstance(event, AttemptStarted):
            self._progress.begin()
        elif isinstance(event, Text) and self._live:
            lead = _BREAK if self._said and not self._attempt else ""
            self._attempt += event.text
            self._said = True
            yield AIMessageChunk(content=lead + event.text)
        elif isinstance(event, Text):
            self._progress.tokens += 1
            now = time.monotonic()
            if now - self._told >= PROGRESS_S:
                self._told = now
                yield self._progress.event()
        elif isinstance(event, Retracted):
            if self._attempt:
                written, self._attempt = len(self._attempt), ""
                yield custom_events.retracted(written, event.unquoted, self._run_id)
            if event.judged is not None:
                yield custom_events.decision(event.judged, event.again, self._run_id)
        elif isinstance(event, Done):
            answer = self._judged(event.result)
            again = answer.again if isinstance(answer, AnswerRetryError) else None
            yield custom_events.decision(event.result, again, self._run_id)
            if isinstance(answer, AnswerWithheldError):
                raise answer
            self._answer = answer
            after = _BREAK if self._said else ""
            yield answer.last_chunk(None if self._attempt else after)

    def _judged(self, result: Result) -> AnswerMessage | AnswerWithheldError:
        """The answer, or the error in its place; a `guarded` around is told of either."""
        answers = current_run().answers
        try:
            answer = AnswerMessage.of(result, self._asked, self._scorer, self._carried)
        except AnswerWithheldError as error:
            answers.withheld(error, self._run_id)
            return error
        answers.shown(self._run_id)
        return answer
