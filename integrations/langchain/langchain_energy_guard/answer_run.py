"""One run of a ChatEnergyGuard, from its request to its chunks and its message.

What is streamed and what is not takes the same path, in a thread and in an event loop alike.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing, closing, contextmanager

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from energy_guard import Guard
from energy_guard.errors import PromptTooLongError
from energy_guard.events import Done, GuardEvent
from langchain_energy_guard.answer_stream import AnswerStream, StreamingMode
from langchain_energy_guard.chat_request import ChatRequest
from langchain_energy_guard.custom_events import CustomEvent
from langchain_energy_guard.errors import PromptOverflowError
from langchain_energy_guard.gathering import aasked_with_others, asked_with_others
from langchain_energy_guard.metadata import Carried
from langchain_energy_guard.run_handlers import RunHandlers


@contextmanager
def _overflow_told() -> Iterator[None]:
    """Say that a prompt is too long as LangChain does: its middleware shortens the chat then."""
    try:
        yield
    except PromptTooLongError as error:
        raise PromptOverflowError(error.message, error.hint) from error


class AnswerRun:
    """One answer, and those who hear of it.

    whole: nobody listens before the end, so that only the last chunk comes.
    """

    def __init__(
        self,
        guard: Guard,
        asked: ChatRequest,
        handlers: RunHandlers,
        *,
        mode: StreamingMode,
        carried: Carried,
        whole: bool = False,
    ) -> None:
        self._guard = guard
        self._request = asked.request
        self._handlers = handlers
        # Decisions on the attempts before the last one come with a stream alone.
        self._whole = whole and not guard.policy.retries
        self._may_wait = whole
        mode = "hold" if whole else mode
        self._stream = AnswerStream(asked, guard.detector, handlers.run_id, mode, carried)
        # The same for the chunks and for the message: LangGraph shows it once then.
        self._id = None if handlers.run_id is None else f"lc_run--{handlers.run_id}"

    def chunks(self) -> Generator[ChatGenerationChunk, None, None]:
        """Ask, tell the handlers what happens, and yield the answer's chunks.

        Raises:
            AnswerWithheldError: if the answer is withheld and no text can stand for it.
            PromptOverflowError: if the prompt is too long for the context.
        """
        with closing(self._events()) as events:
            for event in events:
                for item in self._fed(event):
                    if isinstance(item, CustomEvent):
                        self._handlers.tell(item)
                    else:
                        yield self._generation(item)

    async def achunks(self) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Yield what `chunks` yields; a task that is cancelled stops the engine."""
        async with aclosing(self._aevents()) as events:
            async for event in events:
                for item in self._fed(event):
                    if isinstance(item, CustomEvent):
                        await self._handlers.atell(item)
                    else:
                        yield self._generation(item)

    def chat_result(self) -> ChatResult:
        """Return the whole answer, after its last chunk."""
        message = self._stream.answer.message()
        message.id = self._id
        info = {"finish_reason": message.response_metadata["finish_reason"]}
        return ChatResult(generations=[ChatGeneration(message=message, generation_info=info)])

    def _fed(self, event: GuardEvent) -> Iterator[AIMessageChunk | CustomEvent]:
        if isinstance(event, Done):
            self._handlers.conclude(event.result)
        return self._stream.feed(event)

    def _events(self) -> Generator[GuardEvent, None, None]:
        with _overflow_told():
            together = asked_with_others(self._guard, self._request) if self._may_wait else None
            if together is not None:
                yield from together
            elif self._whole:
                yield Done(self._guard.ask(self._request))
            else:
                yield from self._guard.stream(self._request, release=self._stream.release)

    async def _aevents(self) -> AsyncGenerator[GuardEvent, None]:
        with _overflow_told():
            if self._may_wait:
                together = await aasked_with_others(self._guard, self._request)
                if together is not None:
                    for each in together:
                        yield each
                    return
            if self._whole:
                yield Done(await self._guard.aask(self._request))
                return
            release = self._stream.release
            async with aclosing(self._guard.astream(self._request, release=release)) as events:
                async for event in events:
                    yield event

    def _generation(self, chunk: AIMessageChunk) -> ChatGenerationChunk:
        chunk.id = self._id
        return ChatGenerationChunk(message=chunk)
