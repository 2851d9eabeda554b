"""What came of the answers in one run of a guarded chain: which were judged, and how that ended.

A chain may go on without an answer that was withheld: `with_fallbacks` takes the error for a
failure, middleware and plain functions catch it. What it returns then is to be judged as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables.config import ensure_config, get_callback_manager_for_config

from langchain_energy_guard.errors import AnswerWithheldError
from langchain_energy_guard.metadata import KEY, PROVIDER


@dataclass(frozen=True)
class _Outcome:
    """What came of one answer of a guarded model. withheld: None if it was shown."""

    run_id: UUID | None
    withheld: AnswerWithheldError | None


class JudgedAnswers(BaseCallbackHandler):
    """Listens to one run of a chain.

    any_model: whether any model has been asked.
    """

    run_inline = True

    def __init__(self) -> None:
        self.any_model = False
        self._parents: dict[UUID, UUID | None] = {}
        self._begun: dict[UUID | None, int] = {}  # after how many outcomes a run began
        self._ended: set[UUID] = set()
        self._outcomes: list[_Outcome] = []

    def shown(self, run_id: UUID | None = None) -> None:
        """Note an answer that was judged and is shown, under the run of its model."""
        self._outcomes.append(_Outcome(run_id, None))

    def withheld(self, error: AnswerWithheldError, run_id: UUID | None) -> None:
        """Note an answer that is withheld: this error is raised in the run of its model."""
        self._outcomes.append(_Outcome(run_id, error))

    @property
    def any_judged(self) -> bool:
        """Whether any answer was judged."""
        return bool(self._outcomes)

    def dropped(self) -> AnswerWithheldError | None:
        """Return the error of an answer that is withheld, and that the chain went on without.

        None if there is none, or if a guarded model that was asked afterwards gave another answer
        to the part of the chain that caught the error.
        """
        for number, outcome in enumerate(self._outcomes):
            if outcome.withheld is not None:
                catcher = self._catcher(outcome.run_id)
                if not any(
                    later.withheld is None
                    and self._begun.get(later.run_id, 0) > number
                    and (catcher is None or catcher in self._line(later.run_id))
                    for later in self._outcomes
                ):
                    return outcome.withheld
        return None

    def _catcher(self, run_id: UUID | None) -> UUID | None:
        """The innermost run around a failed one that ended well; None if that is the chain."""
        return next((run for run in self._line(run_id)[1:] if run in self._ended), None)

    def _line(self, run_id: UUID | None) -> list[UUID]:
        """A run and the runs around it, from the inside out."""
        line: list[UUID] = []
        while run_id is not None:
            line.append(run_id)
            run_id = self._parents.get(run_id)
        return line

    # What LangChain tells

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Note where a part of the chain stands."""
        self._begin(run_id, parent_run_id)

    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Note where a tool stands, which may ask a model."""
        self._begin(run_id, parent_run_id)

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Note that a model is asked."""
        self.any_model = True
        self._begin(run_id, parent_run_id)

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Note that a model is asked."""
        self.any_model = True
        self._begin(run_id, parent_run_id)

    def on_chain_end(self, outputs: dict[str, Any], *, run_id: UUID, **kwargs: Any) -> None:
        """Note that a part of the chain ended well."""
        self._ended.add(run_id)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note that a tool ended well."""
        self._ended.add(run_id)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Note an answer of a ChatEnergyGuard: one from a cache is not judged anew."""
        for generations in response.generations:
            for generation in generations:
                if not isinstance(generation, ChatGeneration):
                    continue
                carried = generation.message.response_metadata
                if carried.get("model_provider") == PROVIDER and KEY in carried:
                    self.shown(run_id)

    def _begin(self, run_id: UUID, parent: UUID | None) -> None:
        # `with_fallbacks` gives what it asks the run around itself as the parent: the run that it
        # is stands in the context alone.
        around = get_callback_manager_for_config(ensure_config()).parent_run_id
        if around in self._parents and self._parents[around] == parent:
            parent = around
        self._parents[run_id] = parent
        self._begun[run_id] = len(self._outcomes)
