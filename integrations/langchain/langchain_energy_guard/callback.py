"""Handlers that guard chains which keep their own model object."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent import futures
from contextlib import ExitStack
from typing import Any, Final, Literal
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, LLMResult

from energy_guard import Policy, Profile
from energy_guard.arguments import Filled, NotNegative, checked
from energy_guard.backends.locks import DEFAULT_WAIT_S
from energy_guard.decide import Again
from energy_guard.errors import ConfigError, EngineBusyError, EngineError
from energy_guard.telemetry import evaluated
from langchain_energy_guard import custom_events
from langchain_energy_guard.custom_events import CustomEvent
from langchain_energy_guard.engine_queue import Owner, running_here
from langchain_energy_guard.errors import AnswerRetryError, AnswerWithheldError
from langchain_energy_guard.event_origin import in_own_loop, last_origin, note_origin
from langchain_energy_guard.metadata import KEY, Details, metadata
from langchain_energy_guard.tools import ToolCalls
from langchain_energy_guard.watched_model import WatchedModel
from langchain_energy_guard.watched_run import RunDecision, WatchedRun, may_withhold

logger = logging.getLogger("langchain_energy_guard")

_ENDING_S: Final = 30.0
"""How long an engine may take to end after its last text: transformers' streams end before."""


class _Handling:
    """What both handlers do: which runs there are, and what follows from their decisions."""

    run_inline = True  # in the run's own task, so that it is known whose engine it is

    @checked
    def __init__(
        self,
        model: object,
        policy: Policy | None = None,
        *,
        detector: Filled | None = None,
        locator: Filled | None = None,
        profile: Profile | Literal["auto"] | None = "auto",
        raise_error: bool = True,
        wait_s: NotNegative = DEFAULT_WAIT_S,
        details: Details = "summary",
    ) -> None:
        # `guarded` gives a handler for each kind of run, and both the same watched model.
        self._paired = isinstance(model, WatchedModel)
        self.watched = (
            model
            if isinstance(model, WatchedModel)
            else WatchedModel(model, policy, detector, locator, profile)
        )
        self.raise_error = raise_error
        self._wait_s = wait_s
        self._details = details
        self._runs: dict[UUID, WatchedRun] = {}
        self.check(self.watched.judge.policy)

    def check(self, policy: Policy) -> None:
        """Raise ConfigError if this handler could not do what the policy asks for."""
        if not self.raise_error and may_withhold(policy):
            raise ConfigError(
                "this policy withholds answers, and LangChain swallows what a handler raises "
                "unless raise_error is set",
                "Leave raise_error on; or take a policy that only warns: no abstain, "
                "no early_stop, unscored='show', nothing_to_check='show'.",
            )

    def _start(
        self,
        run_id: UUID,
        serialized: dict[str, Any] | None,
        prompt: str | Sequence[BaseMessage],
        given: dict[str, Any],
        owner: Owner | None,
    ) -> WatchedRun | None:
        run = self.watched.start(run_id, serialized, prompt, given, owner)
        if run is not None:
            self.check(run.judge.policy)
        return run

    def _missed(self, run: WatchedRun, error: EngineBusyError) -> None:
        """Remember a run without the engine: if errors are swallowed, its answer comes."""
        if not self.raise_error:
            run.missed = error.message
            self._runs[run.run_id] = run

    def _ending(self, run_id: UUID, chunk: Any) -> WatchedRun | None:
        """Note a chunk of a stream; return its run if it is the last one."""
        run = self._runs.get(run_id)
        message = chunk.message if isinstance(chunk, ChatGenerationChunk) else None
        if run is None or not isinstance(message, AIMessageChunk):
            return None
        run.hear(message)
        return run if message.chunk_position == "last" else None

    def _drop(self, run_id: UUID) -> None:
        run = self._runs.pop(run_id, None)
        if run is not None:
            run.lease.release()

    def _concluded(
        self, run: WatchedRun, generations: Sequence[Generation], engine_done: bool
    ) -> tuple[RunDecision, list[CustomEvent]]:
        """The decision, written into what the model returns; with its events if it is new."""
        if not engine_done:
            raise EngineError("the engine goes on although its answer has ended")
        new = run.decided is None
        with ExitStack() as failing:
            failing.callback(self._drop, run.run_id)
            decided = run.decide(_called(run, generations))
            failing.pop_all()
        for generation in generations:
            _write(generation, metadata(decided.result, decided.calls.details, self._details))
        if not new:
            return decided, []
        _log(decided)
        evaluated(decided.result)
        return decided, _events(decided, run.run_id)


class EnergyGuardCallbackHandler(_Handling, BaseCallbackHandler):
    """Guards a model that a chain calls by itself, for invoke, stream and batch.

    model: the chain's ChatLlamaCpp, LlamaCpp, HuggingFacePipeline or ChatHuggingFace, or its
    engine; it is left as it was found. policy, detector, locator, profile: as `Guard` takes them.
    wait_s: how long a run waits for the engine. details: how much of a result the answer's message
    carries, see docs/langchain.md. A decision is an event, stands in
    `response_metadata["energy_guard"]`, and ends the run if the policy withholds the answer:
    with AnswerWithheldError, or AnswerRetryError if it wants another attempt.

    Raises ConfigError if it could not abort (see raise_error), MismatchError and InputError
    as `Guard` does. For ainvoke, astream and abatch take AsyncEnergyGuardCallbackHandler.
    """

    @property
    def ignore_chat_model(self) -> bool:
        """Whether the run is an asynchronous one, and there is another handler for it."""
        return self._paired and isinstance(running_here(), asyncio.Task)

    @property
    def ignore_llm(self) -> bool:
        """As for chat models."""
        return self.ignore_chat_model

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """Take the engine for this run."""
        self._hold(self._start(run_id, serialized, messages[0], kwargs, running_here()))

    def on_llm_start(
        self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Take the engine for this run."""
        by = running_here()
        owner = by if isinstance(by, threading.Thread) else None
        self._hold(self._start(run_id, serialized, prompts[0], kwargs, owner))

    def on_llm_new_token(
        self, token: str | list[Any], *, chunk: Any = None, run_id: UUID, **kwargs: Any
    ) -> None:
        """Decide with the last chunk of a stream, so that the verdict travels in it."""
        run = self._ending(run_id, chunk)
        if run is not None:
            self._finish(run, [chunk])

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Decide, and write that into what is returned."""
        run = self._runs.get(run_id)
        if run is None:
            return
        try:
            self._finish(run, response.generations[0])
        finally:
            self._drop(run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Give the engine back."""
        self._drop(run_id)

    def _hold(self, run: WatchedRun | None) -> None:
        if run is None:
            return
        try:
            run.lease.wait(run.patience_s(self._wait_s))
        except EngineBusyError as error:
            self._missed(run, error)
            raise
        self._runs[run.run_id] = run

    def _finish(self, run: WatchedRun, generations: Sequence[Generation]) -> None:
        done = run.engine_done()
        futures.wait([done], _ENDING_S)
        decided, events = self._concluded(run, generations, done.done())
        for event in events:
            custom_events.dispatch(event)
        _conclude(run, decided)


class AsyncEnergyGuardCallbackHandler(_Handling, AsyncCallbackHandler):
    """Guards a model as EnergyGuardCallbackHandler does, for ainvoke, astream and abatch.

    Calls that come at the same time wait for each other without stopping the event loop. In
    invoke, stream and batch LangChain swallows what a handler of this kind raises: they fail.
    """

    @property
    def ignore_chat_model(self) -> bool:
        """Whether the run is a synchronous one: there is no event loop; ConfigError if alone."""
        synchronous = note_origin().loop is None
        if synchronous and not self._paired:
            raise _misused_error()
        return synchronous

    @property
    def ignore_llm(self) -> bool:
        """As for chat models; raises the error of a run that could not be guarded."""
        before = last_origin()
        if before is not None and before.error is not None:
            error, before.error = before.error, None
            raise error
        return note_origin().loop is None and self._paired

    async def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """Take the engine for this run."""
        await self._hold(self._start(run_id, serialized, messages[0], kwargs, running_here()))

    async def on_llm_start(
        self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Take the engine for this run."""
        # Text models start their runs in tasks that end at once.
        await self._hold(self._start(run_id, serialized, prompts[0], kwargs, None))

    async def on_llm_new_token(
        self, token: str | list[Any], *, chunk: Any = None, run_id: UUID, **kwargs: Any
    ) -> None:
        """Decide with the last chunk of a stream, so that the verdict travels in it."""
        run = self._ending(run_id, chunk)
        if run is not None and in_own_loop():
            await self._finish(run, [chunk])

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Decide, and write that into what is returned."""
        run = self._runs.get(run_id)
        if run is None:
            return
        try:
            await self._finish(run, response.generations[0])
        finally:
            self._drop(run_id)

    async def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Give the engine back."""
        self._drop(run_id)

    async def _hold(self, run: WatchedRun | None) -> None:
        if run is None:
            return
        if not in_own_loop():
            error = _misused_error()
            if (origin := last_origin()) is not None:
                origin.error = error  # LangChain swallows what is raised here
            raise error
        try:
            wait_s = run.patience_s(self._wait_s)
            await run.lease.wait_async(wait_s, lambda: self._drop(run.run_id))
        except EngineBusyError as error:
            self._missed(run, error)
            raise
        self._runs[run.run_id] = run

    async def _finish(self, run: WatchedRun, generations: Sequence[Generation]) -> None:
        done = asyncio.wrap_future(run.engine_done())
        await asyncio.wait([done], timeout=_ENDING_S)
        decided, events = self._concluded(run, generations, done.done())
        for event in events:
            await custom_events.adispatch(event)
        _conclude(run, decided)


def _misused_error() -> ConfigError:
    return ConfigError(
        "an asynchronous handler cannot stop a synchronous run",
        "Use EnergyGuardCallbackHandler for invoke, stream and batch.",
    )


def _called(run: WatchedRun, generations: Sequence[Generation]) -> ToolCalls:
    """What an answer calls, as LangChain reads it."""
    messages = [g.message for g in generations if isinstance(g, ChatGeneration)]
    if run.calling is not None:
        messages = [run.calling]
    return ToolCalls(
        calls=tuple(call for m in messages for call in getattr(m, "tool_calls", ())),
        invalid=tuple(call for m in messages for call in getattr(m, "invalid_tool_calls", ())),
    )


def _write(generation: Generation, block: dict[str, Any]) -> None:
    """Put the verdict where whoever gets the answer finds it."""
    if isinstance(generation, ChatGeneration):
        generation.message.response_metadata[KEY] = block
    else:
        generation.generation_info = {**(generation.generation_info or {}), KEY: block}


def _events(decided: RunDecision, run_id: UUID) -> list[CustomEvent]:
    result = decided.result
    events = [custom_events.decision(result, decided.move, run_id)]
    if isinstance(decided.move, Again) or not result.shown:
        written = len(result.attempts[-1].trace.text)
        events.append(custom_events.retracted(written, result.unquoted_reason, run_id))
    return events


def _log(decided: RunDecision) -> None:
    result = decided.result
    if isinstance(decided.move, Again):
        logger.info("another attempt: %s", result.unquoted_reason)
    elif not result.shown:
        logger.info("withheld: %s", result.unquoted_reason)
    elif result.warning is not None:
        logger.warning("%s (%s)", result.warning, result.unquoted_reason)


def _conclude(run: WatchedRun, decided: RunDecision) -> None:
    """Raise the error of an answer that is withheld; a `guarded` around is told in any case."""
    error = _error(decided)
    if error is None:
        run.answers.shown(run.run_id)
        return
    run.answers.withheld(error, run.run_id)
    raise error


def _error(decided: RunDecision) -> AnswerWithheldError | None:
    if isinstance(decided.move, Again):
        return AnswerRetryError(
            decided.result, decided.move, structured=decided.structured, calls=decided.calls
        )
    if not decided.result.shown:
        return AnswerWithheldError(
            decided.result, structured=decided.structured, calls=decided.calls
        )
    return None
