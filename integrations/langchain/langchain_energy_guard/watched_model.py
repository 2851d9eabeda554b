"""A user's own model object with the rules for its answers, and which runs are runs of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from langchain_core.messages import BaseMessage

from energy_guard import Message, Policy, Profile, Request, load
from energy_guard.backends import Backend
from energy_guard.errors import ConfigError, InputError
from energy_guard.judge import Judge
from energy_guard.request import RequestOptions, Role, Sampling
from langchain_energy_guard.engine_queue import Owner
from langchain_energy_guard.guarded_call import current_run
from langchain_energy_guard.middleware_calls import judge_for_call
from langchain_energy_guard.partner_models import engine_of
from langchain_energy_guard.watched_run import WatchedRun

_ROLES: dict[str, Role] = {"human": "user", "ai": "assistant", "system": "system"}


class WatchedModel:
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
        if self.judge.neurons is not None:
            raise ConfigError(
                "neurons of a model that LangChain runs itself are not watched",
                "Take a ChatEnergyGuard, or a detector or profile without a probe.",
            )
        self._model = _Described.of(model)

    def start(
        self,
        run_id: UUID,
        serialized: dict[str, Any] | None,
        prompt: str | Sequence[BaseMessage],
        given: dict[str, Any],
        owner: Owner | None,
    ) -> WatchedRun | None:
        """Begin to watch a run; None if another model is asked. The engine is not held yet.

        given: the keyword arguments of LangChain's start events. owner: see `EngineLease`.
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
        current = current_run()
        judge = current.judge_for(self.judge, request.mode, self.backend.info)
        judge = judge_for_call(judge, given.get("metadata"))
        return WatchedRun(self.backend, self.engine, run_id, request, current, judge, params, owner)


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
        """Whether a run is one of this model; if that is not said, it is taken to be."""
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
    """The settings of a model's own call that have the names of llama.cpp, and its ranges."""
    names = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed")
    given = {name: params[name] for name in names if params.get(name) is not None}
    return {name: value for name, value in given.items() if _is_taken(name, value)}


def _is_taken(name: str, value: object) -> bool:
    """Whether a setting means the same here; a seed of -1, say, is a fresh one to some engines."""
    settings: dict[str, Any] = {name: value}
    try:
        Sampling(**settings)
    except InputError:
        return False
    return True
