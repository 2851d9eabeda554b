"""One run of a user's model, from its first token to the decision; knows nothing of callbacks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

from langchain_core.messages import BaseMessage

from energy_guard import Message, Policy, Profile, Request, Result, Trace, load
from energy_guard.backends import Backend
from energy_guard.decide import Again, Attempt, Move
from energy_guard.errors import InputError
from energy_guard.judge import Judge
from energy_guard.request import Finished, Partition, RequestOptions, Role, Sampling, Token
from energy_guard.running import Running, Window
from energy_guard.score import Unscored
from energy_guard.trace import Step
from langchain_energy_guard import trial
from langchain_energy_guard.adopt import engine_of
from langchain_energy_guard.calls import Retouch
from langchain_energy_guard.turns import Hold, Owner

_ROLES: dict[str, Role] = {"human": "user", "ai": "assistant", "system": "system"}


@dataclass(frozen=True)
class Decided:
    """What follows from one run. structured: a tool call or structured output was expected."""

    result: Result
    move: Move
    structured: bool


def may_withhold(policy: Policy) -> bool:
    """Whether an answer may be withheld under this policy."""
    shows = policy.unscored == policy.nothing_to_check == "show"
    return policy.abstain is not None or policy.early_stop is not None or not shows


class Watcher:
    """A model with the rules that its answers are judged by; takes what `Guard` takes.

    model: LangChain's own object, its engine, or anything that `load` takes as an engine.
    """

    def __init__(
        self,
        model: object,
        policy: Policy | None,
        detector: str | None,
        locator: str | None,
        profile: Profile | Literal["auto"] | None,
    ) -> None:
        self.backend: Backend = load(engine_of(model))
        self.engine = _capturable(self.backend)
        self.judge = Judge.assemble(
            policy, detector=detector, locator=locator, profile=profile, info=self.backend.info
        )
        self.judge.check_model(self.backend.info)
        self._model = _Described.of(model)

    def start(
        self,
        run_id: UUID,
        serialized: dict[str, Any] | None,
        prompt: str | Sequence[BaseMessage],
        given: dict[str, Any],
        owner: Owner | None,
    ) -> Run | None:
        """Begin to watch a run; None where another model is asked. The engine is not held yet.

        given: the keyword arguments of LangChain's start events. owner: see `Hold`.
        """
        params: dict[str, Any] = given.get("invocation_params") or {}
        if not self._model.matches(serialized, params):
            return None
        if given.get("batch_size", 1) > 1:
            raise InputError(
                "several prompts in one call of the model cannot be told apart",
                "Ask one by one: batch(…, config={'max_concurrency': 1}).",
            )
        request = _request(prompt, params)
        current = trial.current()
        judge = current.settled(self.judge, request.mode, self.backend.info)
        return Run(self, run_id, request, current, judge, params, owner)


class Run:
    """One call of the model."""

    def __init__(
        self,
        watcher: Watcher,
        run_id: UUID,
        request: Request,
        current: trial.Round,
        judge: Judge,
        params: dict[str, Any],
        owner: Owner | None,
    ) -> None:
        self.run_id = run_id
        self.judge = judge
        self.decided: Decided | None = None
        self.missed: str | None = None  # why nothing of it was heard
        self._info = watcher.backend.info
        self._request = request
        self._round = current
        self._call = current.call(repr(request))
        self._structured = _forced(params)
        self._opens = watcher.backend.measure(request).opens_reasoning
        window = None
        if judge.policy.early_stop is not None:
            window = Window(judge.policy.early_stop, judge.detector, reasoning=self._opens)
        self._running = Running(0, request, detector=judge.detector, window=window, heard=False)
        self._steps = 0
        self._late = False
        changes, earlier = current.changes(self._call), current.earlier(self._call)
        retouch = None
        if changes is not None:
            retouch = Retouch(changes, earlier[-1].trace.text, len(earlier))
            retouch = _fitting(retouch, request, watcher.backend)
        self._until = current.trial.deadline(judge.policy)
        needed = window is not None or judge.policy.deadline_s is not None
        follow = self._step if needed or _one_by_one(watcher.engine) else None
        self.hold = Hold(run_id, watcher.engine, follow, retouch, owner)

    def settled(self) -> bool:
        """Whether the engine has done its work, so that `decide` can be called."""
        return not self.hold.working

    def decide(self, calls_tool: bool) -> Decided:
        """Judge what was generated, once; the engine is free afterwards."""
        if self.decided is None:
            self.hold.release()
            if not self.hold.traces and may_withhold(self.judge.policy):
                # A cache has withheld answers, too: `unscored` does not let them through.
                hidden = self.judge.policy.model_copy(update={"unscored": "withhold"})
                self.judge = replace(self.judge, policy=hidden)
            attempt = self._attempt(self.hold.traces)
            attempts, move = self._round.decide(self._call, self.judge.policy, [attempt])
            final = self.judge.final(attempts) if isinstance(move, Again) else move
            result = self.judge.conclude(attempts, final, info=self._info, request=self._request)
            self.decided = Decided(result, move, self._structured or calls_tool)
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


@dataclass(frozen=True)
class _Described:
    """Which model object runs are expected of; a bare engine says nothing about that."""

    kind: str | None
    names: dict[str, Any]

    @classmethod
    def of(cls, model: object) -> _Described:
        if not hasattr(model, "invoke"):
            return cls(None, {})
        found = {name: getattr(model, name, None) for name in ("model_path", "model_id")}
        return cls(type(model).__name__, {k: v for k, v in found.items() if v is not None})

    def matches(self, serialized: dict[str, Any] | None, params: dict[str, Any]) -> bool:
        """Whether a run is one of this model; where that is not said, it is taken to be."""
        path = (serialized or {}).get("id")
        if self.kind is None or not path:
            return True
        return path[-1] == self.kind and all(
            params.get(name, value) == value for name, value in self.names.items()
        )


def _capturable(backend: Backend) -> object:
    engine = getattr(backend, "engine", None)
    if engine is None:
        raise InputError(
            f"a {type(backend).__name__} has no engine whose calls could be captured",
            "Give the model object of the chain, or its engine.",
        )
    tokenizer = getattr(backend, "tokenizer", None)
    return engine if tokenizer is None else (engine, tokenizer)


def _one_by_one(engine: object) -> bool:
    """Whether tokens can be followed: beams of transformers are judged when they are done."""
    if not isinstance(engine, tuple):
        return True
    config = getattr(engine[0], "generation_config", None)
    return (getattr(config, "num_beams", None) or 1) == 1


def _request(prompt: str | Sequence[BaseMessage], params: dict[str, Any]) -> Request:
    """What was asked, as far as locators and measures need it."""
    limit = params.get("max_tokens")
    options: RequestOptions = {"sampling": Sampling(**_numbers(params))}
    if isinstance(limit, int) and limit > 0:
        options["max_tokens"] = limit
    if isinstance(prompt, str):
        return Request.raw(prompt, **options)
    texts = [(_ROLES.get(m.type, "user"), str(m.text)) for m in prompt]
    turns = [Message(role, text) for role, text in texts if text.strip()]
    return Request.chat(turns, **options)


def _numbers(params: dict[str, Any]) -> dict[str, Any]:
    """The settings of a model's own call that have the names of llama.cpp."""
    names = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed")
    return {name: params[name] for name in names if isinstance(params.get(name), int | float)}


def _fitting(retouch: Retouch, request: Request, backend: Backend) -> Retouch:
    """Leave feedback out that the context has no room for."""
    if retouch.changes.feedback is None or request.messages is None:
        return retouch
    said = Message("assistant", retouch.answer)
    told = (*request.messages, said, Message("user", retouch.changes.feedback))
    if backend.measure(replace(request, messages=told)).room < 1:
        return replace(retouch, changes=replace(retouch.changes, feedback=None))
    return retouch


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
