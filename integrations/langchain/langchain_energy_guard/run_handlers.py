"""What the handlers of a run of ChatEnergyGuard itself are told: custom events, and the verdict.

LangChain sends custom events from a run *around* the caller only. A model that is called without
a chain has none, and in `stream` it is not even told its own run: that is made up for here.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    CallbackManager,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer

from energy_guard import Result
from energy_guard.telemetry import verdict_attributes
from langchain_energy_guard.custom_events import CustomEvent, to_graph


@dataclass(frozen=True)
class RunHandlers:
    """The handlers of one run of a model."""

    handlers: list[BaseCallbackHandler] = field(default_factory=list)
    run_id: uuid.UUID | None = None
    tags: list[str] = field(default_factory=list)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_run(
        cls, run: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None
    ) -> RunHandlers:
        """Those of a run that LangChain manages."""
        return cls() if run is None else cls(run.handlers, run.run_id, run.tags, run.metadata)

    @classmethod
    def of_stream(
        cls, model: BaseChatModel, config: RunnableConfig
    ) -> tuple[RunnableConfig, RunHandlers]:
        """Return the config that a stream is to be called with, and the handlers of its run."""
        run_id = config.get("run_id") or uuid.uuid4()
        # LangSmith's tracer may come from the environment: the run gets the one that is here.
        callbacks = CallbackManager.configure(config.get("callbacks"))
        manager = CallbackManager.configure(
            callbacks,
            model.callbacks,
            model.verbose,
            config.get("tags"),
            model.tags,
            config.get("metadata"),
            model.metadata,
        )
        handlers = cls(manager.handlers, run_id, manager.tags, manager.metadata)
        return {**config, "run_id": run_id, "callbacks": callbacks}, handlers

    def conclude(self, result: Result) -> None:
        """Put the verdict into the run's metadata and tags, in the tracers: LangSmith shows both.

        LangChain has no way to add them to a run that has begun, but a tracer sends its run when
        that ends, with what is in it then.
        """
        verdict = verdict_attributes(result)
        for handler in self.handlers:
            if not isinstance(handler, BaseTracer | AsyncBaseTracer):
                continue
            run = handler.run_map.get(str(self.run_id))
            if run is not None:
                # New ones: those that are there belong to whoever called, and to other runs.
                extra = run.extra or {}
                run.extra = {**extra, "metadata": {**extra.get("metadata", {}), **verdict}}
                run.tags = [*(run.tags or ()), f"energy_guard:{result.verdict}"]

    def tell(self, event: CustomEvent) -> None:
        """Call `on_custom_event` of every handler, and write into the graph's stream."""
        to_graph(event)
        CallbackManager(
            self.handlers, tags=self.tags, metadata=dict(self.metadata)
        ).on_custom_event(event.name, event.data, self.run_id)

    async def atell(self, event: CustomEvent) -> None:
        """Do that from an event loop."""
        to_graph(event)
        await AsyncCallbackManager(
            self.handlers, tags=self.tags, metadata=dict(self.metadata)
        ).on_custom_event(event.name, event.data, self.run_id)
