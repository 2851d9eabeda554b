"""One run of a user's model, from its first token to the decision; knows nothing of callbacks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from langchain_core.messages import AIMessageChunk

from energy_guard import Policy, Request, Result, Trace
from energy_guard.backends import Backend
from energy_guard.decide import Again, Attempt, Move
from energy_guard.judge import Judge
from energy_guard.request import Finished, Partition, Token
from energy_guard.running import Running, Window
from energy_guard.score import Unscored
from energy_guard.tools import NOT_MADE
from energy_guard.trace import Step
from langchain_energy_guard.engine_calls import CallChanges
from langchain_energy_guard.engine_queue import EngineLease, Owner
from langchain_energy_guard.guarded_call import ChainRun
from langchain_energy_guard.tools import ToolCalls, scored


@dataclass(frozen=True)
class RunDecision:
    """What follows from one run.

    structured: a tool call or structured output was expected. calls: those of the answer that the
    result is about; none if that is an earlier attempt's.
    """

    result: Result
    move: Move
    structured: bool
    calls: ToolCalls


def may_withhold(policy: Policy) -> bool:
    """Whether an answer may be withheld under this policy."""
    shows = policy.unscored == policy.nothing_to_check == "show"
    return policy.abstain is not None or policy.early_stop is not None or not shows


class WatchedRun:
    """One call of the model."""

    def __init__(
        self,
        backend: Backend,
        engine: object,
        run_id: UUID,
        request: Request,
        current: ChainRun,
        judge: Judge,
        params: dict[str, Any],
        owner: Owner | None,
    ) -> None:
        self.run_id = run_id
        self.judge = judge
        self.decided: RunDecision | None = None
        self.missed: str | None = None  # why nothing of it was heard
        self.calling: AIMessageChunk | None = None  # of a stream, the chunks with calls of tools
        self._info = backend.info
        self._request = request
        self._chain_run = current
        self.answers = current.answers
        self._call = current.call(repr(request))
        self._structured = _forced(params)
        self._opens = backend.measure(request).opens_reasoning
        window = None
        if judge.policy.early_stop is not None:
            window = Window(judge.policy.early_stop, judge.detector, reasoning=self._opens)
        self._running = Running(0, request, detector=judge.detector, window=window, heard=False)
        self._steps = 0
        self._late = False
        changes, earlier = current.changes(self._call), current.earlier(self._call)
        changed = None
        if changes is not None:
            changes = changes.that_fit(request, earlier, measure=backend.measure)
            changed = CallChanges(changes, earlier)
        self._until = current.whole.deadline(judge.policy)
        needed = window is not None or judge.policy.deadline_s is not None
        follow = self._step if needed or _one_by_one(engine) else None
        self.lease = EngineLease(run_id, engine, follow, changed, owner)

    def patience_s(self, wait_s: float) -> float:
        """Return for how many of some seconds it may wait before its policy's time is over."""
        return min(wait_s, max(0.0, self._until - time.monotonic()))

    def hear(self, chunk: AIMessageChunk) -> None:
        """Add a chunk of the stream to those before it, if it has a part of a call."""
        if chunk.tool_call_chunks:
            self.calling = chunk if self.calling is None else self.calling + chunk

    def engine_done(self) -> Future[None]:
        """Return what is done when the engine has done its work, so that `decide` can be called."""
        return self.lease.calls.idle()

    def decide(self, called: ToolCalls) -> RunDecision:
        """Judge what was generated, once; the engine is free afterwards.

        Args:
            called: what the answer calls, as LangChain's message has it.
        """
        if self.decided is None:
            self.lease.release()
            if called.invalid and not called.calls:
                self.judge = replace(self.judge, unusable=lambda _: NOT_MADE)
            if not self.lease.traces and may_withhold(self.judge.policy):
                # A cache has withheld answers, too: `unscored` does not let them through.
                hidden = self.judge.policy.model_copy(update={"unscored": "withhold"})
                self.judge = replace(self.judge, policy=hidden)
            attempt = self._attempt(self.lease.traces)
            attempts, move = self._chain_run.decide(self._call, self.judge.policy, [attempt])
            final = self.judge.final(attempts) if isinstance(move, Again) else move
            result = self.judge.conclude(attempts, final, info=self._info, request=self._request)
            calls = ToolCalls()
            if result.kept is attempt:
                calls = scored(called, result.trace, self.judge.detector, attempt.asked)
            structured = self._structured or bool(called.calls)
            self.decided = RunDecision(result, move, structured, calls)
        return self.decided

    def _attempt(self, traces: Sequence[Trace]) -> Attempt:
        if len(traces) != 1:
            what = self.missed or (
                "nothing was generated: the answer comes from a cache or another model"
            )
            if traces:
                what = f"{len(traces)} sequences were generated in one call"
            empty = replace(Trace.from_steps([]), finish_reason="closed")
            attempt = self.judge.assess(empty, self._request)
            return replace(attempt, score=Unscored(what))
        trace = replace(traces[0], reasoning_open=self._opens)
        if self._late and trace.finish_reason == "cancelled":
            trace = replace(trace, finish_reason="deadline")
        if self._running.cancel.cancelled and trace.finish_reason == "cancelled":
            trace = replace(trace, finish_reason="stopped")
        _drain(self._running.feed(Finished(0, trace.finish_reason, trace)))
        return self.judge.assess(trace, self._request, ask=None, stopped=self._running.stopped)

    def _step(self, step: Step) -> bool:
        self._late = time.monotonic() >= self._until
        if self._late:
            return True
        if not self._running.wants_steps:
            return False
        if self._steps:
            row = step.row
            last = Partition(0, self._steps - 1, row.log_partition, row.mean)
            _drain(self._running.feed(last))
        _drain(self._running.feed(Token(0, step)))
        self._steps += 1
        return self._running.cancel.cancelled


def _one_by_one(engine: object) -> bool:
    """Whether tokens can be followed: beams of transformers are judged when they are done."""
    if not isinstance(engine, tuple):
        return True
    config = getattr(engine[0], "generation_config", None)
    return (getattr(config, "num_beams", None) or 1) == 1


def _forced(params: dict[str, Any]) -> bool:
    """Whether only a tool call or structured output will do."""
    choice = params.get("tool_choice")
    return bool(
        (choice and choice not in ("auto", "none"))
        or params.get("response_format")
        or params.get("grammar")
    )


def _drain(events: Iterable[object]) -> None:
    for _ in events:
        pass
